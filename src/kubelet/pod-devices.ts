import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CniError, ErrorCode } from '../cni/error.ts';
import { readCheckpoint } from './checkpoint.ts';

/** A pod as kubelet knows it. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  /** Of a static pod, not its mirror's in the API. */
  readonly uid: string;
}

/** What kubelet gave to a pod. The ids come from device plugins, and may be anything. */
export interface PodDevices {
  /** Where that was read, for messages. */
  readonly source: string;
  /** Of all containers, by the name of the resource; what was given through a ResourceClaim, by the name of the claim. */
  readonly devices: ReadonlyMap<string, readonly string[]>;
}

/** Kubelet's own default for its --root-dir. */
export const defaultKubeletDir = '/var/lib/kubelet';

export const podResourcesSocket = (kubeletDir: string): string => join(kubeletDir, 'pod-resources/kubelet.sock');

export const checkpointFile = (kubeletDir: string): string =>
  join(kubeletDir, 'device-plugins/kubelet_internal_checkpoint');

/**
 * Finds out which devices a pod has: kubelet chose them before it had the sandbox made. Kubelet is asked; where it does not
 * answer, its checkpoint is read, which has no ResourceClaims.
 *
 * @param kubeletDir Kubelet's --root-dir.
 * @throws {CniError} 11 telling what was tried.
 */
export async function readPodDevices(kubeletDir: string, pod: PodIdentity): Promise<PodDevices> {
  const problems: string[] = [];
  const socket = podResourcesSocket(kubeletDir);
  try {
    await stat(socket);
    const { readPodResources } = await import('./pod-resources.ts');
    return await readPodResources(socket, pod);
  } catch (error) {
    problems.push(`${socket}: ${messageOf(error)}`);
  }
  try {
    return await readCheckpoint(checkpointFile(kubeletDir), pod);
  } catch (error) {
    problems.push(`${checkpointFile(kubeletDir)}: ${messageOf(error)}`);
  }
  throw new CniError(
    ErrorCode.TryAgainLater,
    `kubelet could not be asked for the devices of pod ${pod.namespace}/${pod.name}: ${problems.join('; ')}`,
    `see that kubelet runs, and that ${kubeletDir} of the node is mounted where the daemon runs; if its --root-dir is ` +
      'another one, name that in kubeletDir',
  );
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
