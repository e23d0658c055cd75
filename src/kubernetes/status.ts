import { Backoff } from './backoff.ts';
import { type Client, segment } from './client.ts';
import { ApiError, isNotFound, isTransient } from './error.ts';
import type { Log } from './log.ts';
import { type Pod, uidSchema } from './schemas.ts';

export const networkStatusAnnotation = 'k8s.v1.cni.cncf.io/network-status';

/**
 * One entry of the annotation: "Multi-Network Specification" v1.3 of the Network Plumbing Working Group, section
 * "Network Attachment Selection Annotation Status".
 */
export interface NetworkStatus {
  /** `namespace/definition`; for the default network, its configuration's name. */
  readonly name: string;
  readonly interface?: string | undefined;
  /** Without prefix length. */
  readonly ips?: readonly string[] | undefined;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** Only ever true: the one network that is the pod's default. */
  readonly default?: true | undefined;
  readonly dns: {
    readonly nameservers?: readonly string[] | undefined;
    readonly domain?: string | undefined;
    readonly search?: readonly string[] | undefined;
    readonly options?: readonly string[] | undefined;
  };
  readonly 'device-info'?: unknown;
  /** Gateways of default routes. */
  readonly gateway?: readonly string[] | undefined;
}

/** The API server takes 256 KiB of annotations for one object. */
const maxAnnotation = 200 * 1024;

const attempts = 5;

/**
 * Writes the network-status annotation, through the status subresource as Multus does: that is what its role allows.
 * The patch carries the pod's UID, so a pod that took over the name is never written to.
 *
 * @returns False when the pod is gone, and with it anyone who would read its status.
 * @throws {ApiError} when the server refuses, or stays away for some seconds.
 */
export async function setNetworkStatus(
  client: Client,
  pod: Pod,
  statuses: readonly NetworkStatus[],
  log: Log,
  signal: AbortSignal,
): Promise<boolean> {
  const { namespace, name, uid } = pod.metadata;
  const value = JSON.stringify(statuses, undefined, 4);
  if (Buffer.byteLength(value) > maxAnnotation) {
    throw new ApiError(
      `network-status of pod ${namespace}/${name} is ${Buffer.byteLength(value)} bytes long, at most ${maxAnnotation} fit`,
      {},
    );
  }
  const path = `/api/v1/namespaces/${segment('namespace', namespace)}/pods/${segment('pod', name)}`;
  const backoff = new Backoff(100, 2_000);
  for (let attempt = 1; ; attempt++) {
    try {
      await client.request({
        method: 'PATCH',
        path: `${path}/status`,
        contentType: 'application/merge-patch+json',
        body: { metadata: { uid, annotations: { [networkStatusAnnotation]: value } } },
        timeout: 5_000,
        signal,
      });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      const conflict = error instanceof ApiError && error.status === 409;
      if (conflict && (await isReplaced(client, path, uid, signal))) return false;
      if (attempt === attempts || signal.aborted || !(conflict || isTransient(error))) throw error;
      log.debug({ pod: `${namespace}/${name}`, error }, 'network-status: trying again');
      await backoff.wait(signal, error instanceof ApiError ? error.retryAfter : undefined);
    }
  }
}

async function isReplaced(client: Client, path: string, uid: string, signal: AbortSignal): Promise<boolean> {
  try {
    const { metadata } = uidSchema.parse(await client.request({ path, timeout: 5_000, signal }));
    return metadata.uid !== uid;
  } catch (error) {
    return isNotFound(error);
  }
}
