import { addBuiltin, checkBuiltin, deleteBuiltin, gcBuiltin, statusBuiltin } from './builtin.ts';
import { parsePluginInput } from './config.ts';
import { renderResult } from './convert.ts';
import { CniError, ErrorCode } from './error.ts';
import { type AttachmentCommand, type Environment, readInvocation } from './invocation.ts';
import { isJsonObject, type JsonValue } from './json.ts';
import { parseJson } from './parse-json.ts';
import type { Attachment, Plugin, PluginConfig, PluginRunner } from './plugin.ts';
import { isCniVersion, newestVersion, requireCommand } from './version.ts';

export interface PluginRequest {
  /** The CNI_* variables of the process that was called. */
  readonly env: Environment;
  readonly stdin: string;
  readonly plugin: Plugin;
  /** Runs what the plugin delegates to. */
  readonly plugins: PluginRunner;
  /** Whether a path names the network namespace that plugins run in. False for a path that is gone. */
  readonly isOwnNamespace: (path: string) => boolean | Promise<boolean>;
}

/**
 * Answers one call of one built-in plugin, as its executable would (specification 1.1.0, section 2).
 *
 * @returns What is to be printed.
 * @throws {CniError} which renderError prints.
 */
export async function answerPlugin(request: PluginRequest): Promise<string> {
  const { env, stdin, plugin, plugins } = request;
  const invocation = readInvocation(env);
  if (invocation.command === 'VERSION') return renderVersion(plugin.versions, statedVersion(stdin));
  const config = parsePluginInput(stdin, plugin.type);
  requireCommand(config.cniVersion, invocation.command);
  switch (invocation.command) {
    case 'STATUS':
      await statusBuiltin(plugin, { config, path: invocation.path, plugins });
      return '';
    case 'GC':
      await gcBuiltin(plugin, { config, path: invocation.path, plugins });
      return '';
    default:
      if (!invocation.netnsOverride) await refuseOwnNamespace(invocation.attachment.netns, request);
      return answerAttachment(invocation.command, invocation.attachment, config, request);
  }
}

async function answerAttachment(
  command: AttachmentCommand,
  attachment: Attachment,
  config: PluginConfig,
  { plugin, plugins }: PluginRequest,
): Promise<string> {
  switch (command) {
    case 'ADD':
      return renderResult(await addBuiltin(plugin, config, attachment, plugins), config.cniVersion);
    case 'DEL':
      await deleteBuiltin(plugin, config, attachment, plugins);
      return '';
    case 'CHECK':
      if (config['prevResult'] === undefined || config['prevResult'] === null) {
        throw new CniError(ErrorCode.InvalidNetworkConfig, 'Required prevResult missing');
      }
      await checkBuiltin(plugin, config, attachment, plugins);
      return '';
  }
}

/**
 * libcni's plugins look at this after the work, and leave it behind. Before it, nothing has happened yet, and DEL cannot
 * remove the node's own interface.
 */
async function refuseOwnNamespace(netns: string, { isOwnNamespace }: PluginRequest): Promise<void> {
  if (netns === '' || !(await isOwnNamespace(netns))) return;
  throw new CniError(
    ErrorCode.InvalidNetNS,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    `CNI_NETNS is ${netns}; CNI_NETNS_OVERRIDE=1 allows it`,
  );
}

/**
 * The answer to VERSION.
 *
 * @param cniVersion That of the question.
 */
export function renderVersion(supportedVersions: readonly string[], cniVersion: string): string {
  return `${JSON.stringify({ cniVersion, supportedVersions })}\n`;
}

/** The version to answer in, whatever else is wrong with the input: the configuration's, or else the newest. */
export function statedVersion(stdin: string): string {
  let json: JsonValue;
  try {
    json = parseJson(stdin, 'standard input');
  } catch {
    return newestVersion;
  }
  const version = isJsonObject(json) ? json['cniVersion'] : undefined;
  return typeof version === 'string' && isCniVersion(version) ? version : newestVersion;
}
