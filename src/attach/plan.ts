import { formatArgs } from '../cni/args.ts';
import { capabilitiesOf } from '../cni/chain.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../cni/config.ts';
import type { JsonObject } from '../cni/json.ts';
import type { Attachment } from '../cni/plugin.ts';
import type { Plan, PlannedAttachment } from '../journal/entry.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { NetworkAttachmentDefinition, Pod } from '../kubernetes/schemas.ts';
import { auxiliaryChain } from './auxiliary-chain.ts';
import { requestedCapabilities } from './capabilities.ts';
import { deviceInfoFile, devicePluginFile } from './device-info.ts';
import { type NetworkDevice, withDevices } from './devices.ts';
import { interfaceNames } from './interface-names.ts';
import { invalidConfig } from './invalid-config.ts';
import { requireClaimReader } from './ipam-claim.ts';
import { networksOf, type PodNetwork, podNetworks } from './pod-networks.ts';
import { readNetwork } from './read-network.ts';
import type { NetworkSelection } from './selection.ts';
import type { Settings } from './settings.ts';

/** What the runtime asked for, and what is known of the cluster and the node. */
export interface PlanRequest {
  readonly attachment: Attachment;
  /**
   * The runtime's own runtimeConfig, with capabilities that nobody here knows: it is meant for the default network alone
   * (specification v1.3, section 3.4).
   */
  readonly runtimeConfig: JsonObject;
  readonly settings: Settings;
  readonly cluster: Cluster | undefined;
  readonly pod: Pod | undefined;
  /** @see DevicesRequest.fromElsewhere */
  readonly fromElsewhere?: boolean;
}

/** One attachment of a plan, ready to be run. */
export interface ReadyAttachment {
  readonly planned: PlannedAttachment;
  readonly list: NetworkConfigList;
  /** The resource that the network's definition names. */
  readonly resource?: string | undefined;
  /** Where its device plugin may tell of its device. */
  readonly devicePluginFile?: string | undefined;
  /** What may be why, should it fail. */
  readonly hint?: string | undefined;
}

export interface ReadyPlan {
  readonly plan: Plan;
  readonly attachments: readonly ReadyAttachment[];
}

/**
 * Works out each interface that a pod gets, in the order of its networks. Nothing is changed by it, so what is wrong with
 * any of them is found before the first is made.
 *
 * @throws {CniError} 7 naming the annotation or the object, the path in it and what was expected.
 */
export async function planAttachments(request: PlanRequest): Promise<ReadyPlan> {
  const { attachment, pod, settings } = request;
  const [asked, last] = await Promise.all([podNetworks(request), auxiliaryChain(settings)]);
  const auxiliary = last.map((found) => ({ found, isDefault: false, isAuxiliary: true }));
  const networks = await withDevices([...asked, ...auxiliary], request);
  const names = interfacesOf(networks, attachment.ifName);
  const attachments = networks.map((network, index) => planNetwork(network, names[index] ?? '', request));
  const plan: Plan = {
    version: 1,
    containerId: attachment.containerId,
    ifName: attachment.ifName,
    netns: attachment.netns,
    args: formatArgs(attachment.args),
    ...(pod && { pod: { namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid } }),
    ...(pod && { networks: networksOf(pod) }),
    attachments: attachments.map(({ planned }) => planned),
    plannedAt: Date.now(),
  };
  return { plan, attachments };
}

/** The configuration of a planned attachment, as ADD used it. */
export function plannedList(planned: PlannedAttachment): NetworkConfigList {
  return parseNetworkConfig(planned.config, planned.source, { defaultName: planned.defaultName });
}

/** @param defaultInterface What the runtime calls the default network's. */
function interfacesOf(networks: readonly PodNetwork[], defaultInterface: string): string[] {
  const requested = networks.map(({ isDefault, selection }) => {
    return selection?.interface ?? (isDefault ? defaultInterface : undefined);
  });
  return invalidConfig(() => interfaceNames(requested, ['lo']));
}

/** What the plan of one network depends on beside the network. */
export interface NetworkPlanRequest extends Pick<PlanRequest, 'runtimeConfig'> {
  readonly settings: Pick<Settings, 'deviceInfoDir'>;
  readonly attachment: Pick<Attachment, 'containerId'>;
}

/**
 * Works out one interface of a pod.
 *
 * @throws {CniError} 7 naming the object, the path in it and what was expected.
 */
export function planNetwork(
  { found, isDefault, isAuxiliary, selection, device }: PodNetwork,
  ifName: string,
  { runtimeConfig, settings, attachment: { containerId } }: NetworkPlanRequest,
): ReadyAttachment {
  const list = readNetwork(found);
  const isClusterNetwork = isDefault && selection === undefined;
  const network = isClusterNetwork || found.definition === undefined ? list.name : qualifiedName(found.definition);
  const capabilities = capabilitiesOf(list);
  const asked = selection && invalidConfig(() => capabilitiesFor(selection, list, device), `network ${network}`);
  const deviceId = device?.id;
  const { deviceInfoDir } = settings;
  const isTold = capabilities.has(deviceInfoCapability);
  const file = isTold || deviceId ? deviceInfoFile(deviceInfoDir, { network, containerId, ifName }) : undefined;
  const planned: PlannedAttachment = {
    network,
    ifName,
    isDefault,
    ...(isAuxiliary && { isAuxiliary }),
    config: found.config,
    source: found.source,
    defaultName: found.name,
    runtimeConfig: {
      ...(isDefault && runtimeConfig),
      ...asked,
      ...(deviceId && capabilities.has('deviceID') && { deviceID: deviceId }),
      ...(isTold && { [deviceInfoCapability]: file }),
    },
    cniArgs: selection?.cniArgs ?? {},
    ...(deviceId && { deviceId }),
    ...(file && { deviceInfoFile: file }),
    ...(selection?.defaultRoute && { defaultRoute: selection.defaultRoute }),
    ...(selection && !isDefault && { selection: { ...selection } }),
  };
  return {
    planned,
    list,
    resource: device?.resource,
    devicePluginFile: device && deviceId && devicePluginFile(deviceInfoDir, device.resource, deviceId),
    hint:
      device && !deviceId ? `the pod has no device of resource ${device.resource}, which the network names` : undefined,
  };
}

/** Of the device information specification, section 5.1. */
const deviceInfoCapability = 'CNIDeviceInfoFile';

/** The device of a resource reaches all plugins in any case: it need not be a capability. */
function capabilitiesFor(
  selection: NetworkSelection,
  list: NetworkConfigList,
  device: NetworkDevice | undefined,
): JsonObject {
  requireClaimReader(selection, list);
  const asked = device === undefined ? selection : { ...selection, deviceId: undefined };
  return requestedCapabilities(asked, list);
}

const qualifiedName = ({ metadata }: NetworkAttachmentDefinition): string => `${metadata.namespace}/${metadata.name}`;
