import { z } from 'zod';
import { addSandbox } from '../attach/add.ts';
import { checkSandbox } from '../attach/check.ts';
import { collectGarbage } from '../attach/collect.ts';
import { findCommonNetworks, findDefaultNetwork, type NetworkSource } from '../attach/default-network.ts';
import { requireReady, untilReady } from '../attach/readiness.ts';
import { type ReleaseContext, releaseEntry } from '../attach/release.ts';
import { parseSettings, type Settings } from '../attach/settings.ts';
import { deleteList, statusList } from '../cni/chain.ts';
import { renderVersion, statedVersion } from '../cni/command.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../cni/config.ts';
import { renderResult } from '../cni/convert.ts';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import {
  type AttachmentCommand,
  type AttachmentInvocation,
  type Environment,
  readInvocation,
  splitPath,
} from '../cni/invocation.ts';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import type { Attachment, PluginRunner } from '../cni/plugin.ts';
import { parseWith } from '../cni/schema.ts';
import { cniVersions, isCniVersion, requireCommand } from '../cni/version.ts';
import type { Journal, Key } from '../journal/journal.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { Pod } from '../kubernetes/schemas.ts';
import { isOwnNamespace } from '../linux/namespace.ts';
import type { Gate } from './gate.ts';
import type { Live } from './live/live.ts';
import type { KeyedQueue } from './queue.ts';
import type { RuntimeKeys } from './runtime-keys.ts';

/** What the meta-plugin works with. */
export interface MetaContext {
  readonly journal: Journal;
  readonly runner: PluginRunner;
  readonly cluster: Cluster | undefined;
  readonly queue: KeyedQueue;
  /** How many ADD, DEL and CHECK are worked on at a time. */
  readonly gate?: Gate | undefined;
  /** The daemon's configuration: it overlays what the runtime sends. */
  readonly overlay: JsonObject;
  readonly report: ReleaseContext['report'];
  /** Told of each configuration that the runtime sends. */
  readonly keys?: RuntimeKeys | undefined;
  /** Told what is attached and released, and how the runtime calls. */
  readonly live?: Live | undefined;
}

/** A call of the meta-plugin, read and checked. */
interface MetaCall {
  readonly settings: Settings;
  readonly config: JsonObject;
  readonly runtimeConfig: JsonObject;
}

const source = 'the CNI configuration of Plexus';

/**
 * Answers one call of the runtime as the meta-plugin.
 *
 * @returns What is to be printed.
 * @throws {CniError}
 */
export async function answerMeta(env: Environment, stdin: string, context: MetaContext): Promise<string> {
  const invocation = readInvocation(env);
  if (invocation.command === 'VERSION') return renderVersion(cniVersions, statedVersion(stdin));
  const config = parseJson(stdin, source);
  if (!isJsonObject(config)) throw new CniError(ErrorCode.DecodingFailure, `${source}: expected a JSON object`);
  context.keys?.look(config, source);
  const settings = parseSettings({ ...config, ...context.overlay }, source);
  // The runtime goes by what it was given, whatever version the administrator wants results in.
  requireCommand(statedIn(config) ?? settings.cniVersion, invocation.command);
  const { runtimeConfig } = config;
  const call: MetaCall = { settings, config, runtimeConfig: isJsonObject(runtimeConfig) ? runtimeConfig : {} };
  switch (invocation.command) {
    case 'STATUS':
      return status(call, invocation.path, context);
    case 'GC':
      return collect(call, invocation.path, context);
    default: {
      const { path } = invocation.attachment;
      const netns = invocation.netnsOverride ? invocation.attachment.netns : sandboxNamespace(invocation);
      const attachment = { ...invocation.attachment, netns, path: searchPath(settings, path) };
      const handle = handlers[invocation.command];
      const task = (): Promise<string> => handle(call, attachment, context);
      // Who waits for the default network takes up neither a place nor the turn of a GC, which others wait behind.
      const first = invocation.command === 'ADD' && settings.readinessindicatorfile ? untilReady : undefined;
      return context.queue.run(
        attachment.containerId,
        () => context.gate?.run(task) ?? task(),
        first && (() => first(settings)),
      );
    }
  }
}

function statedIn({ cniVersion }: JsonObject): string | undefined {
  return typeof cniVersion === 'string' && isCniVersion(cniVersion) ? cniVersion : undefined;
}

/**
 * The namespace of a sandbox, which is never the node's own. A runtime that names a namespace by a process can name the
 * node's when that process is gone and its number was given to another: to DEL the sandbox's namespace is gone then.
 *
 * @throws {CniError} 8 for ADD and CHECK.
 */
function sandboxNamespace(invocation: AttachmentInvocation): string {
  const { netns } = invocation.attachment;
  if (netns === '' || !isOwnNamespace(netns)) return netns;
  if (invocation.command === 'DEL') return '';
  throw new CniError(
    ErrorCode.InvalidNetNS,
    `CNI_NETNS ${netns} is the network namespace of the node itself, expected that of a sandbox`,
    'CNI_NETNS_OVERRIDE=1 allows it',
  );
}

type Handler = (call: MetaCall, attachment: Attachment, context: MetaContext) => Promise<string>;

const handlers: Readonly<Record<AttachmentCommand, Handler>> = { ADD: add, DEL: remove, CHECK: check };

/** The administrator's directories come before the runtime's. */
function searchPath({ binDir }: Settings, path: readonly string[]): string[] {
  return [...new Set([...splitPath(binDir), ...path])];
}

async function add(
  { settings, config, runtimeConfig }: MetaCall,
  attachment: Attachment,
  context: MetaContext,
): Promise<string> {
  const { cluster, live } = context;
  const pod = await podOf(attachment, cluster);
  const release = releaseContext(attachment.path, context);
  await live?.runtimeCall.note(config, attachment.path);
  const result = await addSandbox({ attachment, runtimeConfig, settings, cluster, pod }, release);
  live?.follower.added(attachment, pod);
  return renderResult(result, settings.cniVersion);
}

async function remove(call: MetaCall, attachment: Attachment, context: MetaContext): Promise<string> {
  const release = releaseContext(attachment.path, context);
  const entry = await context.journal.read(attachment);
  if (entry === undefined) await removeUnknown(call, attachment, context);
  else await releaseEntry(attachment, entry, attachment.netns, release);
  context.live?.follower.removed(attachment);
  return '';
}

/**
 * A sandbox that the journal does not know was released before, or was added before Plexus was installed. In case of the
 * latter its default network is asked to release it: DEL of something unknown is a success by the specification.
 */
async function removeUnknown(call: MetaCall, attachment: Attachment, { runner, cluster }: MetaContext): Promise<void> {
  const list = await defaultListIfAny(call.settings, cluster);
  // Nothing is known to be held, and nobody is there to ask.
  if (list === undefined) return;
  const { prevResult } = call.config;
  await deleteList(
    list,
    attachment,
    { runtimeConfig: call.runtimeConfig, prevResult: isJsonObject(prevResult) ? prevResult : undefined },
    runner,
  );
}

async function check(_call: MetaCall, attachment: Attachment, { journal, runner }: MetaContext): Promise<string> {
  await checkSandbox(attachment, journal, runner);
  return '';
}

/**
 * Tells whether an ADD could succeed now: the readiness file, the plugins of all networks that pods get without asking,
 * and the way to the API server, of which the runtime is told even where a plugin has something to say as well.
 */
async function status({ settings }: MetaCall, path: readonly string[], context: MetaContext): Promise<string> {
  await requireReady(settings);
  const { cluster, runner } = context;
  const problems = cluster?.problems() ?? [];
  const away = problems.length === 0 ? '' : `the Kubernetes API cannot be followed: ${problems.join('; ')}`;
  try {
    // What is to answer at once does not wait for a server that is known to be away.
    for (const found of await findCommonNetworks(settings, away === '' ? cluster : undefined)) {
      await statusList(listOf(found), searchPath(settings, path), runner);
    }
  } catch (error) {
    const { code, message, details } = toCniError(error);
    const isStatus = code === ErrorCode.PluginNotAvailable || code === ErrorCode.LimitedConnectivity;
    // A network that is not found in files may well be in the API.
    if (away !== '' && !isStatus) throw unavailable(away);
    throw new CniError(code, [message, away].filter(Boolean).join('; '), details, { cause: error });
  }
  if (away !== '') throw unavailable(away);
  return '';
}

function unavailable(problem: string): CniError {
  const details = 'which networks a pod asks for cannot be known until it can; pods that run are not affected';
  return new CniError(ErrorCode.PluginNotAvailable, problem, details);
}

const validAttachments = z.looseObject({
  'cni.dev/valid-attachments': z.array(z.looseObject({ containerID: z.string(), ifname: z.string() })),
});

/** Releases what belongs to no sandbox that the runtime knows, then lets the plugins look for themselves. */
async function collect(call: MetaCall, runtimePath: readonly string[], context: MetaContext): Promise<string> {
  const { settings } = call;
  const parsed = parseWith(validAttachments, call.config, source);
  const runtime: Key[] = parsed['cni.dev/valid-attachments'].map(({ containerID, ifname }) => ({
    containerId: containerID,
    ifName: ifname,
  }));
  // Before all else has to wait: the API server may be slow to answer, or away.
  const defaultNetwork = await defaultListIfAny(settings, context.cluster);
  const common = defaultNetwork && (await findCommonNetworks(settings, context.cluster).catch(() => []));
  const collection = { defaultNetwork, further: common?.slice(1).map(listOf) ?? [], runtime };
  const release = releaseContext(searchPath(settings, runtimePath), context);
  const failures = await context.queue.alone(() =>
    collectGarbage(collection, release, (key) => context.live?.follower.removed(key)),
  );
  if (defaultNetwork === undefined) failures.push('the default network was not found');
  if (failures.length > 0) throw new CniError(ErrorCode.Internal, `not all could be collected: ${failures.join('; ')}`);
  return '';
}

const listOf = ({ config, source, name }: NetworkSource): NetworkConfigList =>
  parseNetworkConfig(config, source, { defaultName: name });

/**
 * The default network, as far as it is known while the Kubernetes API is away: a node must be able to drain then.
 *
 * @returns undefined where it is not found.
 */
async function defaultListIfAny(
  settings: Settings,
  cluster: Cluster | undefined,
): Promise<NetworkConfigList | undefined> {
  const ofCluster = findDefaultNetwork(settings, cluster);
  const found = ofCluster.catch(() => findDefaultNetwork(settings, undefined));
  return found.then(listOf).catch(() => undefined);
}

/** The pod that a sandbox is for, by the arguments that container runtimes give; undefined for a sandbox without one. */
async function podOf({ args }: Attachment, cluster: Cluster | undefined): Promise<Pod | undefined> {
  const namespace = args.get('K8S_POD_NAMESPACE');
  const name = args.get('K8S_POD_NAME');
  if (cluster === undefined || !namespace || !name) return undefined;
  return cluster.pod(namespace, name, args.get('K8S_POD_UID') || undefined);
}

function releaseContext(path: readonly string[], { journal, runner, report }: MetaContext): ReleaseContext {
  return { journal, runner, path, report };
}
