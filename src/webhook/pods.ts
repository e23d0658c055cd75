import { z } from 'zod';
import { resourceOf } from '../attach/devices.ts';
import {
  defaultNetworkAnnotation,
  type NetworkSelection,
  networksAnnotation,
  parseDefaultNetwork,
  parseNetworks,
} from '../attach/selection.ts';
import { capabilitiesOf } from '../cni/chain.ts';
import { parseNetworkConfig } from '../cni/config.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import { issuesOf } from '../kubernetes/issues.ts';
import type { NetworkAttachmentDefinition } from '../kubernetes/schemas.ts';
import { type AdmissionRequest, NotAReview, type Verdict } from './admission-review.ts';
import { downwardApi } from './downward-api.ts';
import { injectNodeSelector } from './inject-node-selector.ts';
import { injectResources } from './inject-resources.ts';
import { nodeSelectorOf, nodeSelectorProblem } from './node-selector.ts';
import { podSpec } from './pod-spec.ts';

export interface PodReviewOptions {
  /** @throws {CniError} 7 when there is none, 11 when it cannot be known now. */
  readonly network: (namespace: string, name: string) => Promise<NetworkAttachmentDefinition>;
  /** Where the network of the default-network annotation is looked for. */
  readonly multusNamespace: string;
  /** Whether the first container is shown what the pod is, below /etc/podnetinfo. */
  readonly downwardApi: boolean;
}

const podSchema = z.object({
  metadata: z.object({ annotations: z.record(z.string(), z.string()).nullish() }),
  spec: podSpec,
});

/**
 * Has a new pod request the devices that its networks need, and be put on a node that has them: a definition's annotations
 * `k8s.v1.cni.cncf.io/resourceName` and `k8s.v1.cni.cncf.io/nodeSelector`. A pod is never refused: what is wrong with what
 * it asks for is a warning, for the daemon tells it in the pod's events, and what is missing may come.
 *
 * @throws {NotAReview} where the request has no pod. {CniError} 11 when a network cannot be known now.
 */
export async function reviewPod(request: AdmissionRequest, options: PodReviewOptions): Promise<Verdict> {
  if (request.operation !== 'CREATE' || request.subResource) return {};
  const parsed = podSchema.safeParse(request.object);
  if (!parsed.success) throw new NotAReview(`expected a pod: ${issuesOf(parsed.error)}`);
  const { metadata, spec } = parsed.data;
  // It has the node's own interfaces, and the runtime asks for no others.
  if (spec.hostNetwork) return {};
  const warnings: string[] = [];
  const selections = selectionsOf(metadata.annotations ?? {}, request.namespace, options.multusNamespace, warnings);
  const wanted = await lookUp(selections, options, warnings);
  const patch = [
    ...injectResources(spec, wanted.resources, warnings),
    ...injectNodeSelector(spec, wanted.labels, warnings),
    ...(options.downwardApi && wanted.resources.size > 0 ? downwardApi(spec) : []),
  ];
  return { patch, warnings };
}

/** @param warnings What is wrong with an annotation is added to it. */
function selectionsOf(
  annotations: Readonly<Record<string, string>>,
  podNamespace: string,
  multusNamespace: string,
  warnings: string[],
): NetworkSelection[] {
  const { [defaultNetworkAnnotation]: first, [networksAnnotation]: others = '' } = annotations;
  const read = [
    () => (first === undefined ? [] : [parseDefaultNetwork(first, multusNamespace)]),
    () => parseNetworks(others, podNamespace),
  ];
  return read.flatMap((each) => {
    try {
      return each();
    } catch (error) {
      warnings.push(warningOf(error));
      return [];
    }
  });
}

interface Wanted {
  /** How many devices, by the name of the resource. */
  readonly resources: ReadonlyMap<string, number>;
  /** Labels of nodes, each with the network that wants it. */
  readonly labels: readonly (readonly [name: string, value: string, network: string])[];
}

async function lookUp(
  selections: readonly NetworkSelection[],
  { network }: PodReviewOptions,
  warnings: string[],
): Promise<Wanted> {
  const found = await Promise.allSettled(selections.map(({ namespace, name }) => network(namespace, name)));
  const resources = new Map<string, number>();
  const labels: [string, string, string][] = [];
  for (const [index, selection] of selections.entries()) {
    try {
      const definition = settled(found[index]);
      const resource = resourceOf(definition);
      if (resource !== undefined && isCounted(resource) && !choosesFreely(selection, definition)) {
        resources.set(resource, (resources.get(resource) ?? 0) + 1);
      }
      const { namespace, name } = selection;
      const problem = nodeSelectorProblem(definition);
      if (problem !== undefined) warnings.push(problem);
      for (const label of nodeSelectorOf(definition) ?? []) labels.push([...label, `${namespace}/${name}`]);
    } catch (error) {
      if (error instanceof CniError && error.code === ErrorCode.TryAgainLater) throw error;
      warnings.push(warningOf(error));
    }
  }
  return { resources, labels };
}

function settled<T>(result: PromiseSettledResult<T> | undefined): T {
  if (result?.status === 'fulfilled') return result.value;
  throw result?.reason;
}

/** Of the devices of a ResourceClaim, which the pod names itself, none can be requested: their names have no prefix. */
const isCounted = (resource: string): boolean => resource.includes('/');

/** Whether a pod names a device of a network that leaves the choice to pods: it need not be one that it requests. */
function choosesFreely({ deviceId }: NetworkSelection, { metadata, spec }: NetworkAttachmentDefinition): boolean {
  if (deviceId === undefined) return false;
  try {
    const list = parseNetworkConfig(spec.config, '', { defaultName: metadata.name });
    return capabilitiesOf(list).has('deviceID');
  } catch {
    return false;
  }
}

function warningOf(error: unknown): string {
  if (error instanceof CniError) return error.message;
  throw error;
}
