import type { NetworkConfigList } from '../cni/config.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
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
 * @throws {CniError} 7 when no plugin of the network does.
 */
export function requireClaimReader({ ipamClaim }: NetworkSelection, list: NetworkConfigList): void {
  if (ipamClaim === undefined || readsAnnotation(list)) return;
  if (list.plugins.some(({ allowPersistentIPs }) => allowPersistentIPs === true)) return;
  const types = list.plugins.map(({ type }) => type).join(', ');
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `the pod asks for "ipam-claim-reference", but no plugin of the network (${types}) keeps addresses by claims`,
    `name a network whose plugin does ("type": "${ovnKubernetes}", or "allowPersistentIPs": true), or remove ` +
      '"ipam-claim-reference" from the annotation',
  );
}
