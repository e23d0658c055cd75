import assert from 'node:assert/strict';
import { CniError, ErrorCode } from '../../src/cni/error.ts';
import type { JsonObject, JsonValue } from '../../src/cni/json.ts';
import { NetworkNotFoundError } from '../../src/kubernetes/networks.ts';
import { networkSchema } from '../../src/kubernetes/schemas.ts';
import { jsonPatch } from '../../src/playground/api/json-patch.ts';
import type { AdmissionRequest, Verdict } from '../../src/webhook/admission-review.ts';
import { reviewPod } from '../../src/webhook/pods.ts';

export const networksKey = 'k8s.v1.cni.cncf.io/networks';
export const defaultKey = 'v1.multus-cni.io/default-network';
export const resourceKey = 'k8s.v1.cni.cncf.io/resourceName';
export const nodesKey = 'k8s.v1.cni.cncf.io/nodeSelector';

export const config = (rest: JsonObject): string => JSON.stringify({ cniVersion: '1.0.0', ...rest });

/** A definition as the API server has it. */
export const definition = (name: string, annotations: Readonly<Record<string, string>>, namespace = 'default') => ({
  metadata: { namespace, name, annotations },
  spec: { config: config({ type: 'macvlan', capabilities: { deviceID: true } }) },
});

export type Definition = ReturnType<typeof definition>;

/** What the API server asks. */
export function requestOf(resource: string, object: JsonValue, more: Partial<AdmissionRequest> = {}): AdmissionRequest {
  assert.ok(typeof object === 'object' && object !== null && !Array.isArray(object));
  const group = resource === 'pods' ? '' : 'k8s.cni.cncf.io';
  return {
    uid: 'u',
    resource: { group, resource },
    operation: 'CREATE',
    namespace: 'default',
    name: '',
    object: { ...object },
    ...more,
  };
}

/** The cluster's definitions. */
export const lookup = (definitions: readonly Definition[]) => (namespace: string, name: string) => {
  if (name === 'away') return Promise.reject(new CniError(ErrorCode.TryAgainLater, 'cannot read it now'));
  const found = definitions.find(({ metadata }) => metadata.namespace === namespace && metadata.name === name);
  const missing = `cannot find a network-attachment-definition (${name}) in namespace (${namespace})`;
  if (found === undefined) return Promise.reject(new NetworkNotFoundError(ErrorCode.InvalidNetworkConfig, missing));
  return Promise.resolve(networkSchema.parse({ ...found, metadata: { ...found.metadata, uid: 'n' } }));
};

export interface Reviewed {
  readonly verdict: Verdict;
  readonly pod: JsonValue;
}

/** A new pod, reviewed, and what becomes of it. */
export async function review(
  pod: JsonObject,
  definitions: readonly Definition[],
  more: { readonly downwardApi?: boolean; readonly request?: Partial<AdmissionRequest> } = {},
): Promise<Reviewed> {
  const { downwardApi = false, request = {} } = more;
  const options = { network: lookup(definitions), multusNamespace: 'kube-system', downwardApi };
  const verdict = await reviewPod(requestOf('pods', pod, request), options);
  return { verdict, pod: jsonPatch(pod, [...(verdict.patch ?? [])]) };
}
