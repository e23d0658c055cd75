import { CniError, ErrorCode } from '../cni/error.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { NetworkAttachmentDefinition, Pod } from '../kubernetes/schemas.ts';
import {
  findByName,
  findDefaultNetwork,
  findFurtherNetworks,
  listsFirst,
  type NetworkSource,
} from './default-network.ts';
import type { NetworkDevice } from './devices.ts';
import { invalidConfig } from './invalid-config.ts';
import { requireAllowed } from './isolation.ts';
import {
  defaultNetworkAnnotation,
  type NetworkSelection,
  networksAnnotation,
  parseDefaultNetwork,
  parseNetworks,
} from './selection.ts';
import type { Settings } from './settings.ts';

/** A network that a pod gets. */
export interface PodNetwork {
  readonly found: NetworkSource;
  readonly isDefault: boolean;
  /** Whether it is the auxiliary chain, which may well have no interface. */
  readonly isAuxiliary?: boolean;
  /** What the pod asks of it; undefined for one that it gets without asking. */
  readonly selection?: NetworkSelection;
  /** What it has of the resource that its definition names. */
  readonly device?: NetworkDevice;
}

export interface PodNetworksRequest {
  readonly settings: Settings;
  readonly cluster: Cluster | undefined;
  readonly pod: Pod | undefined;
}

/**
 * Finds all networks that a pod gets: the default network, or the one that the pod asks for in its place; those that the
 * administrator gives to every pod; then those of the pod's networks annotation.
 *
 * @throws {CniError} 7 naming the annotation or the object, the path in it and what was expected.
 */
export async function podNetworks({ settings, cluster, pod }: PodNetworksRequest): Promise<PodNetwork[]> {
  const { asked, selections } = pod === undefined ? { selections: [] } : requestedNetworks(pod, settings);
  const [first, further, selected] = await Promise.all([
    asked ? findSelected(asked, settings, cluster) : findDefaultNetwork(settings, cluster).then((found) => ({ found })),
    findFurtherNetworks(pod?.metadata.namespace, settings, cluster),
    Promise.all(selections.map((selection) => findSelected(selection, settings, cluster))),
  ]);
  return [
    { ...first, isDefault: true },
    ...further.map((found) => ({ found, isDefault: false })),
    ...selected.map((each) => ({ ...each, isDefault: false })),
  ];
}

/** What a pod asks for, not looked for yet. */
interface Requested {
  /** The network in the place of the default network. */
  readonly asked?: NetworkSelection | undefined;
  /** The elements of its networks annotation. */
  readonly selections: readonly NetworkSelection[];
}

/**
 * Reads what a pod asks for.
 *
 * @throws {CniError} 7 naming the annotation, the path in it and what was expected, or what is not allowed.
 */
export function requestedNetworks(pod: Pod, settings: Settings): Requested {
  const asked = askedDefault(pod, settings);
  const selections = selectedNetworks(pod, settings);
  requireOneDefaultRoute(asked === undefined ? selections : [asked, ...selections]);
  return { asked, selections };
}

/** The network that the pod asks for in the place of the default network. */
function askedDefault(pod: Pod, settings: Settings): NetworkSelection | undefined {
  const annotation = pod.metadata.annotations[defaultNetworkAnnotation];
  if (annotation === undefined) return undefined;
  const selection = invalidConfig(() => parseDefaultNetwork(annotation, settings.multusNamespace));
  requireAllowed(selection, defaultNetworkAnnotation, pod, settings);
  return selection;
}

/** The networks annotation of a pod; empty where it has none. */
export const networksOf = ({ metadata }: Pod): string => metadata.annotations[networksAnnotation] ?? '';

function selectedNetworks(pod: Pod, settings: Settings): NetworkSelection[] {
  const annotation = pod.metadata.annotations[networksAnnotation];
  if (annotation === undefined) return [];
  const selections = invalidConfig(() => parseNetworks(annotation, pod.metadata.namespace));
  for (const selection of selections) requireAllowed(selection, networksAnnotation, pod, settings);
  return selections;
}

/**
 * The specification gives the key to one element alone (v1.3, section 4.1.2.1.9); as in Multus, two may have it where one
 * names a gateway for IPv4 and the other for IPv6.
 *
 * @throws {CniError} 7 when two networks ask for the default route of one family.
 */
function requireOneDefaultRoute(selections: readonly NetworkSelection[]): void {
  for (const family of ['IPv4', 'IPv6'] as const) {
    const claimants = selections.filter(({ defaultRoute }) => defaultRoute && claims(defaultRoute, family));
    if (claimants.length < 2) continue;
    const names = claimants.map(({ namespace, name }) => `${namespace}/${name}`).join(' and ');
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `annotation ${networksAnnotation}: the default route for ${family} is asked for by ${names}, and one may have it`,
      'leave "default-route" to one of them; an empty list asks for IPv4 and IPv6',
    );
  }
}

/** A list that names no gateway may come to have one of either family. */
function claims(gateways: readonly string[], family: 'IPv4' | 'IPv6'): boolean {
  return gateways.length === 0 || gateways.some((gateway) => gateway.includes(':') === (family === 'IPv6'));
}

/**
 * Finds a network that a pod asks for.
 *
 * @throws {CniError} 7 when there is none, 11 when it cannot be known now.
 */
export async function findSelected(
  selection: NetworkSelection,
  { confDir }: Settings,
  cluster: Cluster | undefined,
): Promise<Omit<PodNetwork, 'isDefault'>> {
  if (cluster === undefined) throw new Error('a pod without a cluster has no annotations');
  const definition = await cluster.network(selection.namespace, selection.name);
  return { found: await definedNetwork(definition, confDir), selection };
}

/** The configuration that a definition holds or, where its spec.config is empty, names (specification v1.3, section 3.4.1). */
async function definedNetwork(definition: NetworkAttachmentDefinition, confDir: string): Promise<NetworkSource> {
  const { namespace, name } = definition.metadata;
  const { config } = definition.spec;
  const source = `NetworkAttachmentDefinition ${namespace}/${name}, spec.config`;
  if (config.trim() !== '') return { config, source, name, definition };
  const found = await findByName(confDir, name, listsFirst);
  if (found !== undefined) return { ...found, definition };
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `${source} is empty, and no configuration in ${confDir} is named "${name}"`,
    `write the configuration into spec.config, or into a file of ${confDir} on each node`,
  );
}
