import { needsDevice } from '../../attach/devices.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import type { PodRequests } from '../../kubernetes/requests.ts';
import type { Pod } from '../../kubernetes/schemas.ts';
import type { PlannedInterface } from './plan.ts';

/** How many devices of a resource the networks of a pod want, and how many its containers request. */
export interface NeededDevices {
  readonly resource: string;
  /** Networks that name the resource, once for each interface. */
  readonly networks: readonly string[];
  readonly requested: number;
  readonly problem: string | undefined;
}

/**
 * Compares what the networks of a pod want with what it requests. Which devices those will be, kubelet alone knows.
 *
 * @returns None for a pod of whose networks no definition names a resource.
 */
export async function neededDevices(
  pod: Pod,
  interfaces: readonly PlannedInterface[],
  cluster: Cluster,
): Promise<NeededDevices[]> {
  const resources = new Set(interfaces.flatMap(({ ready }) => ready?.resource ?? []));
  if (resources.size === 0) return [];
  const requests = await cluster.podRequests(pod);
  return [...resources].map((resource) => {
    const wanting = interfaces.filter(({ ready }) => ready?.resource === resource);
    return compare(resource, wanting, requests);
  });
}

function compare(
  resource: string,
  wanting: readonly PlannedInterface[],
  { counts, hasClaims }: PodRequests,
): NeededDevices {
  const requested = counts.get(resource) ?? 0;
  const networks = wanting.map(({ network }) => network);
  const isWrong = wanting.some(({ ready }) => ready && (requested > 0 || needsDevice(ready.list)));
  const problem =
    requested >= wanting.length || hasClaims || !isWrong
      ? undefined
      : `resource ${resource}: ${networks.join(', ')} ${networks.length === 1 ? 'wants a device' : `want ${networks.length} devices`}, ` +
        `and the pod's containers request ${requested === 0 ? 'none' : requested}; request as many, as "limits": ` +
        `{"${resource}": ${networks.length}} in one of them`;
  return { resource, networks, requested, problem };
}
