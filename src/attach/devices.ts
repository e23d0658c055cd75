import { capabilitiesOf } from '../cni/chain.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../cni/config.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { PlannedAttachment } from '../journal/entry.ts';
import { type PodDevices, type PodIdentity, readPodDevices } from '../kubelet/pod-devices.ts';
import type { ClaimedDevice } from '../kubernetes/claims.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import { kubeletUid } from '../kubernetes/pods.ts';
import type { NetworkAttachmentDefinition, Pod } from '../kubernetes/schemas.ts';
import type { NetworkSource } from './default-network.ts';
import { deviceIdForm, isDeviceId } from './device-id.ts';
import type { PodNetwork } from './pod-networks.ts';
import type { Settings } from './settings.ts';

/** The annotation of a definition whose network needs a device of a resource (device information specification 1.1.0, section 4). */
export const resourceNameAnnotation = 'k8s.v1.cni.cncf.io/resourceName';

/** What a network has of the resource that its definition names. */
export interface NetworkDevice {
  readonly resource: string;
  /** Undefined where the pod has no such device, and the network may do without. */
  readonly id: string | undefined;
}

export interface DevicesRequest {
  readonly pod: Pod | undefined;
  readonly cluster: Cluster | undefined;
  readonly settings: Settings;
  /** The pod is looked at from elsewhere: kubelet of its own node alone knows which devices it has, and is not asked. */
  readonly fromElsewhere?: boolean;
}

/** A qualified name (kubernetes/apimachinery: validation.IsQualifiedName), or the name of a ResourceClaim. */
const resourceName = /^([a-z0-9][a-z0-9.-]{0,252}\/)?[a-z0-9][\w.-]{0,252}$/i;

/**
 * The resource that a network's definition names.
 *
 * @throws {CniError} 7 where it can be none.
 */
export function resourceOf(definition: NetworkAttachmentDefinition | undefined): string | undefined {
  const name = definition?.metadata.annotations[resourceNameAnnotation];
  if (definition === undefined || !name) return undefined;
  if (resourceName.test(name)) return name;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `NetworkAttachmentDefinition ${nameOf(definition)}, annotation ${resourceNameAnnotation}: expected the name of a ` +
      `resource such as intel.com/sriov, found ${JSON.stringify(name.slice(0, 80))}`,
  );
}

/**
 * Finds the device of each network whose definition names a resource: the one that the pod asks for by its id, else one of
 * those that kubelet gave to the pod's containers, or that the pod has by ResourceClaims. The networks of one resource get
 * them in the order of their ids, each device once.
 *
 * A pod may ask by id for what it does not have only of a network that declares the capability for it: whoever wrote that
 * network leaves the choice to pods.
 *
 * @param taken Ids that other networks of the pod have already.
 * @throws {CniError} 7 where the pod has too few, or not the one that it asks for; 11 where that cannot be known now.
 */
export async function withDevices(
  networks: readonly PodNetwork[],
  request: DevicesRequest,
  taken: Iterable<string> = [],
): Promise<PodNetwork[]> {
  const used = new Set([...taken, ...networks.flatMap(({ selection }) => selection?.deviceId ?? [])]);
  const wanting = wantingByResource(networks);
  const isAsked = wanting.size > 0 && !request.fromElsewhere;
  const chosen = isAsked ? await choose(wanting, used, request) : new Map<PodNetwork, string>();
  return networks.map((network) => {
    const resource = resourceOf(network.found.definition);
    if (resource === undefined) return network;
    return { ...network, device: { resource, id: network.selection?.deviceId ?? chosen.get(network) } };
  });
}

/** The networks that are to have devices which the pod has, by resource. */
function wantingByResource(networks: readonly PodNetwork[]): Map<string, PodNetwork[]> {
  const wanting = new Map<string, PodNetwork[]>();
  for (const network of networks) {
    const resource = resourceOf(network.found.definition);
    const isFreeToAsk = network.selection?.deviceId !== undefined && declaresDevice(listOf(network.found));
    if (resource === undefined || isFreeToAsk) continue;
    wanting.set(resource, [...(wanting.get(resource) ?? []), network]);
  }
  return wanting;
}

async function choose(
  wanting: ReadonlyMap<string, readonly PodNetwork[]>,
  used: Set<string>,
  { pod, cluster, settings }: DevicesRequest,
): Promise<Map<PodNetwork, string>> {
  const given = pod && (await readPodDevices(settings.kubeletDir, identityOf(pod)));
  let claimed: readonly ClaimedDevice[] | undefined;
  const chosen = new Map<PodNetwork, string>();
  for (const [resource, networks] of wanting) {
    const asked = networks.flatMap(({ selection }) => selection?.deviceId ?? []);
    const others = networks.filter(({ selection }) => selection?.deviceId === undefined);
    const freeOf = (ids: readonly string[]) => [...new Set(ids)].filter((id) => !used.has(id)).sort();
    let ids = given?.devices.get(resource) ?? [];
    if (pod && (freeOf(ids).length < others.length || asked.some((id) => !ids.includes(id)))) {
      claimed ??= (await cluster?.claimedDevices(pod)) ?? [];
      ids = [...ids, ...claimed.filter((device) => device.resource === resource).map(({ id }) => id)];
    }
    const foreign = asked.find((id) => !ids.includes(id));
    if (foreign !== undefined) throw notThePods(foreign, resource, ids);
    const free = freeOf(ids);
    if (free.length < others.length && (ids.length > 0 || others.some(({ found }) => needsDevice(listOf(found))))) {
      throw tooFew(resource, others, ids, free, given);
    }
    for (const [index, network] of others.entries()) {
      const id = free[index];
      if (id === undefined) break;
      chosen.set(network, checkedId(id, resource));
      used.add(id);
    }
  }
  return chosen;
}

const identityOf = (pod: Pod): PodIdentity => {
  const { namespace, name } = pod.metadata;
  return { namespace, name, uid: kubeletUid(pod) };
};

/** Plugins that can do nothing without one. */
const deviceTypes: ReadonlySet<string> = new Set(['sriov', 'ib-sriov', 'accelerated-bridge']);

/** Keys by which a configuration of host-device names its device itself. */
const deviceKeys = ['device', 'hwaddr', 'kernelpath', 'pciBusID'];

/**
 * Whether a network is certain to need a device. Of others, a resource may say no more than which nodes have the network:
 * that of KubeVirt's bridges is counted on nodes, and no device plugin gives out any of it.
 */
export function needsDevice(list: NetworkConfigList): boolean {
  if (declaresDevice(list)) return true;
  return list.plugins.some(
    (plugin) =>
      deviceTypes.has(plugin.type) || (plugin.type === 'host-device' && !deviceKeys.some((key) => plugin[key])),
  );
}

const declaresDevice = (list: NetworkConfigList): boolean => capabilitiesOf(list).has('deviceID');

const listOf = ({ config, source, name }: NetworkSource): NetworkConfigList =>
  parseNetworkConfig(config, source, { defaultName: name });

function tooFew(
  resource: string,
  networks: readonly PodNetwork[],
  ids: readonly string[],
  free: readonly string[],
  given: PodDevices | undefined,
): CniError {
  const names = networks.map(({ found }) => (found.definition ? nameOf(found.definition) : found.name));
  const [first = ''] = names;
  const who =
    names.length === 1
      ? `network ${first} wants a device`
      : `networks ${names.join(', ')} want ${names.length} devices`;
  const found =
    given === undefined
      ? 'no pod is known that could have one'
      : ids.length === 0
        ? `kubelet gave the pod none (by ${given.source}), and it has none by a ResourceClaim`
        : `the pod has ${ids.join(', ')}${free.length < ids.length ? `, of which ${free.length} are free` : ''}`;
  return new CniError(
    ErrorCode.InvalidNetworkConfig,
    `${who} of resource ${resource}: ${found}`,
    `request as many in the resources of the pod's containers, as "limits": {"${resource}": ${networks.length}}, or name ` +
      'fewer networks of that resource',
  );
}

function notThePods(id: string, resource: string, ids: readonly string[]): CniError {
  const has = ids.length === 0 ? 'none' : ids.join(', ');
  return new CniError(
    ErrorCode.InvalidNetworkConfig,
    `the pod asks for "deviceID" ${id} of resource ${resource}, and has ${has}`,
    'leave "deviceID" out of the annotation, or name one that the pod has; for any device of the node the network has to ' +
      'declare the capability "deviceID"',
  );
}

function checkedId(id: string, resource: string): string {
  if (isDeviceId(id)) return id;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `resource ${resource}: expected ${deviceIdForm}, found ${JSON.stringify(id.slice(0, 80))}`,
    'the device plugin of the resource, or its driver, names its devices so',
  );
}

/** The devices that the networks of a plan have. */
export function devicesIn(attachments: readonly PlannedAttachment[]): string[] {
  return attachments.flatMap(({ deviceId, runtimeConfig: { deviceID } }) => [
    ...(deviceId === undefined ? [] : [deviceId]),
    ...(typeof deviceID === 'string' ? [deviceID] : []),
  ]);
}

const nameOf = ({ metadata }: NetworkAttachmentDefinition): string => `${metadata.namespace}/${metadata.name}`;
