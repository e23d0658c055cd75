import type { NetworkConfigList } from '../cni/config.ts';
import type { NetworkSelection } from './selection.ts';

/** The CNI plugin of OVN-Kubernetes, which declares no capability: it has addresses, MAC and claim from the pod's annotation. */
const ovnKubernetes = 'ovn-k8s-cni-overlay';

/** Whether a plugin of the network finds in the pod's annotation what the pod asks of it. */
export function readsAnnotation({ plugins }: NetworkConfigList): boolean {
  return plugins.some(({ type }) => type === ovnKubernetes);
}

/**
 * Refuses a claim (specification v1.3, "ipam-claim-reference") where nobody would look at it. No CNI configuration carries
 * one: a plugin that keeps addresses by claims reads the pod's annotation, and its configuration says so by
 * `allowPersistentIPs`.
 *
 * @throws {Error} when no plugin of the network does.
 */
export function requireClaimReader({ ipamClaim }: NetworkSelection, list: NetworkConfigList): void {
  if (ipamClaim === undefined || readsAnnotation(list)) return;
  if (list.plugins.some(({ allowPersistentIPs }) => allowPersistentIPs === true)) return;
  throw new Error(
    `the pod asks for "ipam-claim-reference", but no plugin of the network's configuration keeps addresses by claims ` +
      `("type": "${ovnKubernetes}" or "allowPersistentIPs": true); remove the request, or name such a network`,
  );
}
