import type { NetworkConfigList } from '../cni/config.ts';
import type { NetworkSelection } from './selection.ts';

/** The CNI plugin of OVN-Kubernetes, which keeps addresses by IPAMClaims and finds the claim in the pod's annotation. */
const ovnKubernetes = 'ovn-k8s-cni-overlay';

/**
 * Refuses a claim (specification v1.3, "ipam-claim-reference") where nobody would look at it. No CNI configuration carries
 * one: a plugin that keeps addresses by claims reads the pod's annotation, and its configuration says so by
 * `allowPersistentIPs`.
 *
 * @throws {Error} when no plugin of the network does.
 */
export function requireClaimReader({ ipamClaim }: NetworkSelection, { plugins }: NetworkConfigList): void {
  if (ipamClaim === undefined) return;
  if (plugins.some(({ type, allowPersistentIPs }) => type === ovnKubernetes || allowPersistentIPs === true)) return;
  throw new Error(
    `the pod asks for "ipam-claim-reference", but no plugin of the network's configuration keeps addresses by claims ` +
      `("type": "${ovnKubernetes}" or "allowPersistentIPs": true); remove the request, or name such a network`,
  );
}
