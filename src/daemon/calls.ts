import { metaPlugins } from '../attach/network-file.ts';
import type { AttachmentReport } from '../attach/release.ts';
import { parseArgs } from '../cni/args.ts';
import { answerPlugin, statedVersion } from '../cni/command.ts';
import { CniError, ErrorCode, renderError, toCniError } from '../cni/error.ts';
import type { Environment } from '../cni/invocation.ts';
import type { Plugin, PluginRunner } from '../cni/plugin.ts';
import { commands } from '../cni/version.ts';
import { isOwnNamespace } from '../linux/namespace.ts';
import type { Answer, Request } from './frame.ts';
import { answerDetach, detachName } from './live/detach-request.ts';
import type { Logger } from './log.ts';
import { answerMeta, type MetaContext } from './meta.ts';
import type { Metrics } from './metrics.ts';
import { KeyedQueue } from './queue.ts';

/** What calls are answered with. */
export interface CallContext {
  readonly meta: Omit<MetaContext, 'report'>;
  /** What can be called alone, by type. */
  readonly plugins: ReadonlyMap<string, Plugin>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/**
 * Answers calls of the runtime: as the meta-plugin, or as the one plugin under whose name the shim was called. An error
 * is an answer; none is thrown. Each call is a line of the log and counts in the metrics.
 *
 * @returns `before` is what must have happened before the call is worked on; what it throws is the answer.
 */
export function callAnswerer(
  context: CallContext,
): (request: Request, before?: () => Promise<void>) => Promise<Answer> {
  // Not the meta-plugin's queue: what that executes for a sandbox may well call a plugin here, and wait for it.
  const queue = new KeyedQueue();
  return async (request, before) => {
    const started = performance.now();
    const attachments: AttachmentReport[] = [];
    let stdout = '';
    let error: CniError | undefined;
    try {
      await before?.();
      stdout = await route(request, context, queue, (report) => {
        attachments.push(report);
        context.metrics.attachment(report);
      });
    } catch (thrown) {
      error = toCniError(thrown);
      stdout = renderError(error, statedVersion(request.stdin));
    }
    const milliseconds = performance.now() - started;
    // The runtime has its answer before anything is written of it.
    setImmediate(() => record({ request, attachments, error, milliseconds }, context));
    return { exitStatus: error === undefined ? 0 : 1, stdout };
  };
}

async function route(
  { name, env, stdin }: Request,
  { meta, plugins }: CallContext,
  queue: KeyedQueue,
  report: MetaContext['report'],
): Promise<string> {
  if (metaPlugins.has(name)) return answerMeta(env, stdin, { ...meta, report });
  if (name === detachName) return answerDetach(stdin, meta.live);
  const plugin = plugins.get(name);
  if (plugin === undefined) {
    throw new CniError(
      ErrorCode.InvalidEnvironment,
      `called as "${name}": expected ${[...metaPlugins, ...plugins.keys()].join(', ')}`,
      'what has another name is not built into Plexus; remove this link to it',
    );
  }
  return inOrder(plugin, env, queue, () => answerAlone(plugin, env, stdin, meta.runner));
}

/** Calls of one plugin for one sandbox follow one another. */
function inOrder<T>({ type }: Plugin, env: Environment, queue: KeyedQueue, task: () => Promise<T>): Promise<T> {
  const containerId = env['CNI_CONTAINERID'];
  return containerId ? queue.run(`${type} ${containerId}`, task) : task();
}

function answerAlone(plugin: Plugin, env: Environment, stdin: string, plugins: PluginRunner): Promise<string> {
  return answerPlugin({ env, stdin, plugin, plugins, isOwnNamespace });
}

interface Answered {
  readonly request: Request;
  readonly attachments: readonly AttachmentReport[];
  readonly error: CniError | undefined;
  readonly milliseconds: number;
}

/** One line for each call. What a runtime asks every few seconds is told only when it fails, or to who asks for all. */
function record({ request, attachments, error, milliseconds }: Answered, { log, metrics, plugins }: CallContext): void {
  const { name, env } = request;
  const command = env['CNI_COMMAND'] ?? '';
  const code = error?.code ?? 0;
  const knownName = metaPlugins.has(name) || plugins.has(name) || name === detachName ? name : 'unknown';
  const knownCommand = commands.some((each) => each === command) ? command : 'unknown';
  metrics.call(knownCommand, knownName, code, milliseconds);
  const line = {
    command: cut(command),
    plugin: name,
    ...sandboxOf(env),
    durationMs: rounded(milliseconds),
    ...(attachments.length > 0 && { attachments: attachments.map(described) }),
    code,
    // What no plugin and nobody here foresaw: where it came from is worth more than its message.
    ...(code === ErrorCode.Internal && { err: error }),
    ...(error?.details && { details: cut(error.details, maxMessage) }),
  };
  if (error !== undefined) log.error(line, cut(error.message, maxMessage));
  else if (command === 'STATUS' || command === 'VERSION') log.debug(line, 'answered');
  else log.info(line, 'answered');
}

/** The sandbox that a call is for, and its pod. */
function sandboxOf(env: Environment): Readonly<Record<string, string>> {
  const fields: Record<string, string> = {};
  const { CNI_CONTAINERID: containerId, CNI_IFNAME: ifName } = env;
  if (containerId) fields['containerId'] = cut(containerId);
  if (ifName) fields['ifName'] = cut(ifName);
  try {
    const args = parseArgs(env['CNI_ARGS'] ?? '');
    const namespace = args.get('K8S_POD_NAMESPACE');
    const name = args.get('K8S_POD_NAME');
    if (namespace && name) fields['pod'] = cut(`${namespace}/${name}`);
  } catch {
    // The answer says what is wrong with them.
  }
  return fields;
}

function described({ command, planned, milliseconds, error }: AttachmentReport): object {
  const { network, ifName, deviceId } = planned;
  return { command, network, ifName, deviceId, durationMs: rounded(milliseconds), ...(error && { code: error.code }) };
}

/** What is longer than any right name is of no use in a log. */
const maxName = 256;
const maxMessage = 4096;

const cut = (text: string, length = maxName): string => (text.length > length ? `${text.slice(0, length)}...` : text);

const rounded = (milliseconds: number): number => Math.round(milliseconds * 100) / 100;
