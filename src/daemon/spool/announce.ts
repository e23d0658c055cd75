import { addedMessage } from '../../attach/attach-one.ts';
import { findFurtherNetworks } from '../../attach/default-network.ts';
import { requestedNetworks } from '../../attach/pod-networks.ts';
import { parseSettings } from '../../attach/settings.ts';
import { decodeResult } from '../../cni/convert.ts';
import { toCniError } from '../../cni/error.ts';
import type { JsonObject } from '../../cni/json.ts';
import { Backoff } from '../../kubernetes/backoff.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import { PodNotFoundError, PodReplacedError } from '../../kubernetes/pods.ts';
import type { Pod } from '../../kubernetes/schemas.ts';
import type { Adopted } from './adopt.ts';

export interface AnnounceContext {
  readonly cluster: Cluster;
  /** The daemon's configuration: it overlays what the runtime sends. */
  readonly overlay: JsonObject;
  readonly signal: AbortSignal;
}

/**
 * Tells the user of a pod that it was attached to its default network while there was no daemon, and what it lacks. Waits for
 * the API server, if need be; of a pod that is gone nothing is told.
 */
export async function announce(adopted: Adopted, { cluster, overlay, signal }: AnnounceContext): Promise<void> {
  const pod = await findPod(adopted, cluster, signal);
  const [planned] = adopted.planned;
  if (pod === undefined || planned === undefined) return;
  const result = decodeResult(adopted.result ?? {}, '1.1.0', 'result');
  cluster.event(pod, { type: 'Normal', reason: 'AddedInterface', message: addedMessage({ planned }, result) });
  const lacks = await lackingNetworks(pod, { ...adopted.config, ...overlay }, cluster);
  if (lacks.length === 0) return;
  const message = `started while Plexus was down, with the default network only; ${lacks.join('; ')}`;
  cluster.event(pod, { type: 'Warning', reason: 'DefaultNetworkOnly', message });
}

async function findPod({ attachment }: Adopted, cluster: Cluster, signal: AbortSignal): Promise<Pod | undefined> {
  const { args } = attachment;
  const [namespace, name] = [args.get('K8S_POD_NAMESPACE'), args.get('K8S_POD_NAME')];
  if (!namespace || !name) return undefined;
  const backoff = new Backoff(1_000, 60_000);
  while (!signal.aborted) {
    try {
      return await cluster.pod(namespace, name, args.get('K8S_POD_UID') || undefined);
    } catch (error) {
      if (error instanceof PodNotFoundError || error instanceof PodReplacedError) return undefined;
      await backoff.wait(signal).catch(() => {});
    }
  }
  return undefined;
}

/** What else a pod would have been given by the daemon, a phrase each. What waits is attached by who follows running pods. */
async function lackingNetworks(pod: Pod, config: JsonObject, cluster: Cluster): Promise<string[]> {
  try {
    const settings = parseSettings(config, 'the CNI configuration of Plexus');
    const { asked, selections } = requestedNetworks(pod, settings);
    const further = await findFurtherNetworks(pod.metadata.namespace, settings, cluster);
    const waiting = [...further.map(nameOf), ...selections.map(({ namespace, name }) => `${namespace}/${name}`)];
    return [
      ...(waiting.length > 0 ? [`${waiting.join(', ')} ${waiting.length === 1 ? 'waits' : 'wait'}`] : []),
      ...(asked
        ? [`its default network was to be ${asked.namespace}/${asked.name}: delete the pod, so that it is made again`]
        : []),
    ];
  } catch (error) {
    return [`what else it asks for cannot be attached: ${toCniError(error).message}`];
  }
}

const nameOf = ({ name, source }: { readonly name: string; readonly source: string }): string => name || source;
