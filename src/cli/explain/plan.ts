import { interfaceNames } from '../../attach/interface-names.ts';
import { type PlanRequest, planAttachments, type ReadyAttachment } from '../../attach/plan.ts';
import { type NetworkSelection, networksAnnotation, parseNetworks } from '../../attach/selection.ts';
import { parseSettings, type Settings } from '../../attach/settings.ts';
import { parseArgs } from '../../cni/args.ts';
import { toCniError } from '../../cni/error.ts';
import type { JsonObject } from '../../cni/json.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import type { Pod } from '../../kubernetes/schemas.ts';

/** One interface of a pod, as far as it can be planned. */
export interface PlannedInterface {
  readonly ifName: string;
  readonly network: string;
  readonly isDefault: boolean;
  /** Undefined where a problem keeps it from being planned. */
  readonly ready: ReadyAttachment | undefined;
  readonly problems: readonly string[];
}

export interface PlannedPod {
  readonly interfaces: readonly PlannedInterface[];
  /** What is wrong with none of them alone. */
  readonly problems: readonly string[];
}

/** Stands for a default network that is known on the pod's node only. */
const unknownNetwork = 'cluster-network';

/** A default network in the place of one that cannot be known. */
const withUnknownNetwork = {
  clusterNetwork: undefined,
  defaultNetworks: [],
  delegates: [{ cniVersion: '1.1.0', name: unknownNetwork, type: unknownNetwork }],
};

/**
 * Plans a pod as ADD does. Where that fails, each of its networks is planned alone, for ADD tells only the first of all
 * that is wrong.
 */
export async function planPod(
  pod: Pod,
  cluster: Cluster,
  settings: Settings,
  defaultInterface = 'eth0',
): Promise<PlannedPod> {
  const request = (annotations: Pod['metadata']['annotations'], own: Settings = settings): PlanRequest => ({
    attachment: {
      containerId: 'explained',
      netns: '',
      ifName: defaultInterface,
      args: parseArgs(`IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.metadata.namespace};K8S_POD_NAME=${pod.metadata.name}`),
      path: [],
    },
    runtimeConfig: {},
    fromElsewhere: true,
    settings: own,
    cluster,
    pod: { metadata: { ...pod.metadata, annotations } },
  });
  const whole = await attempt(request(pod.metadata.annotations));
  if (whole.problem === undefined) return { interfaces: whole.attachments.map(planned), problems: [] };

  const { [networksAnnotation]: annotation = '', ...others } = pod.metadata.annotations;
  const base = await attempt(request(others));
  const { selections, problem } = readSelections(annotation, pod.metadata.namespace);
  const anyDefault = { ...settings, ...withUnknownNetwork };
  const alone = await Promise.all(
    selections.map(async ({ namespace, name }, index) => {
      const asked = await attempt(request({ [networksAnnotation]: elementOf(annotation, index) }, anyDefault));
      if (asked.problem === undefined) return asked;
      // What the pod asks of it cannot be given; what the network is can be told all the same.
      const bare = await attempt(request({ [networksAnnotation]: `${namespace}/${name}` }, anyDefault));
      return { ...bare, problem: asked.problem };
    }),
  );
  const first =
    base.problem === undefined
      ? base.attachments.map(planned)
      : [{ ifName: defaultInterface, network: '', isDefault: true, ready: undefined, problems: [base.problem] }];
  const named = namesOf(first, selections);
  const rest = selections.map(({ namespace, name }, index) => {
    const ifName = named.names[first.length + index] ?? '';
    const { attachments = [], problem: own } = alone[index] ?? {};
    const [, ready] = attachments;
    return {
      ifName,
      network: `${namespace}/${name}`,
      isDefault: false,
      ready: ready && { ...ready, planned: { ...ready.planned, ifName } },
      // Of a name that is taken, all of the pod's networks are told.
      problems: own === undefined || own === named.problem ? [] : [own],
    };
  });
  const interfaces = [...first, ...rest];
  const told = new Set([...interfaces.flatMap(({ problems }) => problems), problem, named.problem]);
  const ofAll = [problem, named.problem, told.has(whole.problem) ? undefined : whole.problem];
  return { interfaces, problems: ofAll.filter((text) => text !== undefined) };
}

/** Settings where the default network cannot be known: away from the cluster's nodes. */
export const settingsAnywhere = (overlay: JsonObject): Settings =>
  parseSettings({ ...overlay, ...withUnknownNetwork }, 'the configuration');

/** Whether it stands for a default network that is known on the pod's node only. */
export const isUnknown = ({ network, isDefault }: PlannedInterface): boolean => isDefault && network === unknownNetwork;

const planned = (ready: ReadyAttachment): PlannedInterface => {
  const { ifName, network, isDefault } = ready.planned;
  return { ifName, network, isDefault, ready, problems: [] };
};

interface Attempt {
  readonly attachments: readonly ReadyAttachment[];
  readonly problem: string | undefined;
}

async function attempt(request: PlanRequest): Promise<Attempt> {
  try {
    return { attachments: (await planAttachments(request)).attachments, problem: undefined };
  } catch (error) {
    return { attachments: [], problem: problemOf(error) };
  }
}

/** What the pod's event says of it. */
function problemOf(error: unknown): string {
  const { message, details } = toCniError(error);
  return details === '' ? message : `${message} (${details})`;
}

function readSelections(
  annotation: string,
  namespace: string,
): { readonly selections: readonly NetworkSelection[]; readonly problem: string | undefined } {
  try {
    return { selections: parseNetworks(annotation, namespace), problem: undefined };
  } catch (error) {
    return { selections: [], problem: problemOf(error) };
  }
}

/** One element of an annotation that can be read, as an annotation of its own. */
function elementOf(annotation: string, index: number): string {
  if (!/[[{"]/.test(annotation)) return annotation.split(',')[index] ?? '';
  const elements: unknown = JSON.parse(annotation);
  return JSON.stringify(Array.isArray(elements) ? [elements[index]] : elements);
}

function namesOf(
  first: readonly PlannedInterface[],
  selections: readonly NetworkSelection[],
): { readonly names: readonly string[]; readonly problem: string | undefined } {
  const requested = [...first.map(({ ifName }) => ifName), ...selections.map((selection) => selection.interface)];
  try {
    return { names: interfaceNames(requested, ['lo']), problem: undefined };
  } catch (error) {
    const once = requested.map((name, place) =>
      requested.indexOf(name) === place && name !== 'lo' ? name : undefined,
    );
    const names = interfaceNames(once, ['lo']);
    return { names: requested.map((name, place) => name ?? names[place] ?? ''), problem: problemOf(error) };
  }
}
