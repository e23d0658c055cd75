import { z } from 'zod';
import { addSandbox } from '../attach/add.ts';
import { checkSandbox } from '../attach/check.ts';
import { collectNetworks, staleKeys } from '../attach/collect.ts';
import { findDefaultNetwork } from '../attach/default-network.ts';
import { requireReady, untilReady } from '../attach/readiness.ts';
import { type ReleaseContext, releaseEntry } from '../attach/release.ts';
import { parseSettings, type Settings } from '../attach/settings.ts';
import { deleteList, statusList } from '../cni/chain.ts';
import { renderVersion, statedVersion } from '../cni/command.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../cni/config.ts';
import { renderResult } from '../cni/convert.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
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
import type { Live } from './live/live.ts';
import type { KeyedQueue } from './queue.ts';

/** What the meta-plugin works with. */
export interface MetaContext {
  readonly journal: Journal;
  readonly runner: PluginRunner;
  readonly cluster: Cluster | undefined;
  readonly queue: KeyedQueue;
  /** The daemon's configuration: it overlays what the runtime sends. */
  readonly overlay: JsonObject;
  readonly report: ReleaseContext['report'];
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
  const settings = parseSettings({ ...config, ...context.overlay }, source);
  // The runtime goes by what it was given, whatever version the administrator wants results in.
  requireCommand(statedIn(config) ?? settings.cniVersion, invocation.command);
  const { runtimeConfig } = config;
  const call: MetaCall = { settings, config, runtimeConfig: isJsonObject(runtimeConfig) ? runtimeConfig : {} };
  switch (invocation.command) {
    case 'STATUS':
      return status(call, invocation.path, context);
    case 'GC':
      return context.queue.alone(() => collect(call, invocation.path, context));
    default: {
      const { path } = invocation.attachment;
      const netns = invocation.netnsOverride ? invocation.attachment.netns : sandboxNamespace(invocation);
      const attachment = { ...invocation.attachment, netns, path: searchPath(settings, path) };
      const handle = handlers[invocation.command];
      return context.queue.run(attachment.containerId, () => handle(call, attachment, context));
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
  await untilReady(settings);
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
  const list = await defaultListAnyway(call.settings, cluster);
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

async function status({ settings }: MetaCall, path: readonly string[], context: MetaContext): Promise<string> {
  await requireReady(settings);
  const { cluster, runner } = context;
  const problems = cluster?.problems() ?? [];
  if (problems.length > 0) {
    throw new CniError(
      ErrorCode.LimitedConnectivity,
      `the Kubernetes API cannot be followed: ${problems.join('; ')}`,
      'pods that ask for additional networks may not start until it can',
    );
  }
  await statusList(await defaultList(settings, cluster), searchPath(settings, path), runner);
  return '';
}

const validAttachments = z.looseObject({
  'cni.dev/valid-attachments': z.array(z.looseObject({ containerID: z.string(), ifname: z.string() })),
});

/** Releases what belongs to no sandbox that the runtime knows, then lets the plugins look for themselves. */
async function collect(call: MetaCall, runtimePath: readonly string[], context: MetaContext): Promise<string> {
  const { journal, runner, cluster } = context;
  const parsed = parseWith(validAttachments, call.config, source);
  const valid: Key[] = parsed['cni.dev/valid-attachments'].map(({ containerID, ifname }) => ({
    containerId: containerID,
    ifName: ifname,
  }));
  const path = searchPath(call.settings, runtimePath);
  const failures: string[] = [];
  for (const key of await staleKeys(journal, valid)) {
    try {
      const entry = await journal.read(key);
      if (entry !== undefined) await releaseEntry(key, entry, entry.plan.netns, releaseContext(path, context));
      context.live?.follower.removed(key);
    } catch (error) {
      failures.push(`container ${key.containerId}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  failures.push(...(await collectNetworks(journal, await defaultList(call.settings, cluster), valid, path, runner)));
  if (failures.length > 0) throw new CniError(ErrorCode.Internal, `not all could be collected: ${failures.join('; ')}`);
  return '';
}

async function defaultList(settings: Settings, cluster: Cluster | undefined): Promise<NetworkConfigList> {
  const found = await findDefaultNetwork(settings, cluster);
  return parseNetworkConfig(found.config, found.source, { defaultName: found.name });
}

/** The default network, as far as it is known while the Kubernetes API is away: a node must be able to drain then. */
async function defaultListAnyway(settings: Settings, cluster: Cluster | undefined): Promise<NetworkConfigList> {
  try {
    return await defaultList(settings, cluster);
  } catch (error) {
    if (!(error instanceof CniError && error.code === ErrorCode.TryAgainLater)) throw error;
    return defaultList(settings, undefined);
  }
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
