import { formatArgs } from '../cni/args.ts';
import { capabilitiesOf } from '../cni/chain.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../cni/config.ts';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { JsonObject } from '../cni/json.ts';
import type { Attachment } from '../cni/plugin.ts';
import type { Plan, PlannedAttachment } from '../journal/entry.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { NetworkAttachmentDefinition, Pod } from '../kubernetes/schemas.ts';
import { requestedCapabilities } from './capabilities.ts';
import { findByName, findDefaultNetwork, metaPlugins, type NetworkSource } from './default-network.ts';
import { interfaceNames } from './interface-names.ts';
import { type NetworkSelection, networksAnnotation, parseNetworks } from './selection.ts';
import type { Settings } from './settings.ts';

/** What the runtime asked for, and what is known of the cluster and the node. */
export interface PlanRequest {
  readonly attachment: Attachment;
  /** The runtime's own runtimeConfig: it is meant for the default network alone (specification v1.3, section 3.4). */
  readonly runtimeConfig: JsonObject;
  readonly settings: Settings;
  readonly cluster: Cluster | undefined;
  readonly pod: Pod | undefined;
}

/** One attachment of a plan, ready to be run. */
export interface ReadyAttachment {
  readonly planned: PlannedAttachment;
  readonly list: NetworkConfigList;
  /** Gateways of the pod's default route, where the pod wants it on this network. */
  readonly defaultRoute?: readonly string[] | undefined;
}

export interface ReadyPlan {
  readonly plan: Plan;
  readonly attachments: readonly ReadyAttachment[];
}

/**
 * Works out each interface that a pod gets, in order: the default network, then those of its annotation. Nothing is
 * changed by it, so what is wrong with any of them is found before the first is made.
 *
 * @throws {CniError} 7 naming the annotation or the object, the path in it and what was expected.
 */
export async function planAttachments(request: PlanRequest): Promise<ReadyPlan> {
  const { attachment, settings, cluster, pod } = request;
  const selections = pod === undefined ? [] : selectedNetworks(pod);
  const names = namesFor(selections, attachment.ifName);
  const attachments = await Promise.all([
    planDefault(request, await findDefaultNetwork(settings, cluster)),
    ...selections.map((selection, index) => planSelected(selection, names[index] ?? '', request)),
  ]);
  const plan: Plan = {
    version: 1,
    containerId: attachment.containerId,
    ifName: attachment.ifName,
    netns: attachment.netns,
    args: formatArgs(attachment.args),
    ...(pod && { pod: { namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid } }),
    attachments: attachments.map(({ planned }) => planned),
    plannedAt: Date.now(),
  };
  return { plan, attachments };
}

/** The configuration of a planned attachment, as ADD used it. */
export function plannedList(planned: PlannedAttachment): NetworkConfigList {
  return parseNetworkConfig(planned.config, planned.source, { defaultName: planned.defaultName });
}

function selectedNetworks(pod: Pod): NetworkSelection[] {
  const annotation = pod.metadata.annotations[networksAnnotation];
  if (annotation === undefined) return [];
  const selections = invalidConfig(() => parseNetworks(annotation, pod.metadata.namespace));
  for (const path of ['IPv4', 'IPv6'] as const) {
    const claimants = selections.filter(({ defaultRoute }) =>
      defaultRoute?.some((gw) => gw.includes(':') === (path === 'IPv6')),
    );
    if (claimants.length > 1) {
      throw new CniError(
        ErrorCode.InvalidNetworkConfig,
        `annotation ${networksAnnotation}: ${claimants.map(({ name }) => name).join(' and ')} both ask for the ${path} default route; one may have it`,
      );
    }
  }
  return selections;
}

function namesFor(selections: readonly NetworkSelection[], defaultInterface: string): string[] {
  const requested = selections.map((selection) => selection.interface);
  return invalidConfig(() => interfaceNames(requested, ['lo', defaultInterface]));
}

function planDefault(request: PlanRequest, found: NetworkSource): ReadyAttachment {
  const list = readNetwork(found);
  const planned: PlannedAttachment = {
    network: list.name,
    ifName: request.attachment.ifName,
    isDefault: true,
    config: found.config,
    source: found.source,
    defaultName: found.name,
    runtimeConfig: request.runtimeConfig,
    cniArgs: {},
  };
  return { planned, list };
}

async function planSelected(
  selection: NetworkSelection,
  ifName: string,
  { cluster, settings }: PlanRequest,
): Promise<ReadyAttachment> {
  if (cluster === undefined) throw new Error('a pod without a cluster has no networks annotation');
  const definition = await cluster.network(selection.namespace, selection.name);
  const found = await definedNetwork(definition, settings.confDir);
  const list = readNetwork(found);
  const network = `${selection.namespace}/${selection.name}`;
  const planned: PlannedAttachment = {
    network,
    ifName,
    isDefault: false,
    config: found.config,
    source: found.source,
    defaultName: found.name,
    runtimeConfig: invalidConfig(() => requestedCapabilities(selection, capabilitiesOf(list)), `network ${network}`),
    cniArgs: selection.cniArgs ?? {},
  };
  return { planned, list, defaultRoute: selection.defaultRoute };
}

/** Refuses a network that would call this very plugin: it would wait for the sandbox that waits for it. */
function readNetwork({ config, source, name }: NetworkSource): NetworkConfigList {
  const list = parseNetworkConfig(config, source, { defaultName: name });
  const own = list.plugins.find(({ type }) => metaPlugins.has(type));
  if (own === undefined) return list;
  const message = `network "${list.name}": type: expected a network plugin, found "${own.type}", which attaches pods to networks`;
  throw new CniError(ErrorCode.InvalidNetworkConfig, message, source);
}

/** The configuration that a definition holds or, where its spec.config is empty, names (specification v1.3, section 3.2). */
async function definedNetwork(definition: NetworkAttachmentDefinition, confDir: string): Promise<NetworkSource> {
  const { namespace, name } = definition.metadata;
  const { config } = definition.spec;
  const source = `NetworkAttachmentDefinition ${namespace}/${name}, spec.config`;
  if (config.trim() !== '') return { config, source, name };
  const found = await findByName(confDir, name);
  if (found !== undefined) return found;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `${source} is empty, and no configuration in ${confDir} is named "${name}"`,
    `write the configuration into spec.config, or into a file of ${confDir} on each node`,
  );
}

/** Runs what reads a user's words; what it throws is an invalid network configuration. */
function invalidConfig<T>(read: () => T, where?: string): T {
  try {
    return read();
  } catch (error) {
    const { message } = toCniError(error);
    const text = where === undefined ? message : `${where}: ${message}`;
    throw new CniError(ErrorCode.InvalidNetworkConfig, text, '', { cause: error });
  }
}
