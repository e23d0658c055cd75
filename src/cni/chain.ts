import type { ListedPlugin, NetworkConfigList } from './config.ts';
import { decodeResult, encodeResult } from './convert.ts';
import { CniError, ErrorCode, toCniError } from './error.ts';
import { PluginNotFoundError } from './exec.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { freeze } from './once.ts';
import type { Attachment, PluginConfig, PluginRunner } from './plugin.ts';
import type { Result } from './result.ts';
import { validateContainerId, validateInterfaceName, validateNetworkName } from './validate.ts';
import { hasCommand, requireCommand } from './version.ts';

/** What one attachment adds to its network's configuration. */
export interface ChainOptions {
  /** By capability. A plugin is given those that it declares (CONVENTIONS.md, "Dynamic Plugin specific fields"). */
  readonly runtimeConfig?: JsonObject | undefined;
  /** Merged over `args.cni` of every plugin. */
  readonly cniArgs?: JsonObject | undefined;
  /** The device that the attachment has, which plugins know as `deviceID` or `pciBusID`. */
  readonly deviceId?: string | undefined;
}

export interface AddedOptions extends ChainOptions {
  /** The result of the ADD, as {@link addList} returned it in `raw`. */
  readonly prevResult?: JsonObject | undefined;
}

export interface Added {
  readonly result: Result;
  /** The result in the list's version: what DEL and CHECK are to be given. */
  readonly raw: JsonObject;
}

/** A plugin of a chain failed, and every plugin that had run was called with DEL. The code is the failed plugin's. */
export class AddError extends CniError {
  /** What DEL could not release. Empty when nothing is left. */
  readonly undoFailures: readonly CniError[];

  constructor(failure: CniError, undoFailures: readonly CniError[]) {
    const undo = undoFailures.map(({ message }) => `could not be undone: ${message}`);
    super(failure.code, failure.message, [failure.details, ...undo].filter((text) => text !== '').join('; '), {
      cause: failure,
    });
    this.undoFailures = undoFailures;
  }
}

/**
 * Calls ADD of each plugin in order, each with the result of the one before (specification 1.1.0, section 3, "Adding an
 * attachment").
 *
 * @throws {AddError} when a plugin fails. DEL has run for it too, since it may have been killed half way, unless there is
 *   no such plugin.
 */
export async function addList(
  list: NetworkConfigList,
  attachment: Attachment,
  options: ChainOptions,
  runner: PluginRunner,
): Promise<Added> {
  validateNetworkName(list.name);
  validateContainerId(attachment.containerId);
  validateInterfaceName(attachment.ifName);
  let added: Added | undefined;
  for (const [index, plugin] of list.plugins.entries()) {
    try {
      const result = await runner.add(configFor(list, plugin, options, added?.raw), attachment);
      added = { result, raw: encodeResult(result, list.cniVersion) };
    } catch (thrown) {
      const ran = thrown instanceof PluginNotFoundError ? index : index + 1;
      const called = { ...list, plugins: list.plugins.slice(0, ran) };
      const undoFailures = await deleteEach(called, attachment, { ...options, prevResult: added?.raw }, runner);
      throw new AddError(failureOf(list, plugin, 'add', thrown), undoFailures);
    }
  }
  if (added === undefined) throw new CniError(ErrorCode.InvalidNetworkConfig, `network "${list.name}" has no plugins`);
  return added;
}

/**
 * Calls DEL of each plugin in reverse order, each with the result of the whole ADD. A failure does not keep the others
 * from being called.
 *
 * @throws {CniError} the failures together, with the code of the first.
 */
export async function deleteList(
  list: NetworkConfigList,
  attachment: Attachment,
  options: AddedOptions,
  runner: PluginRunner,
): Promise<void> {
  throwTogether(await deleteEach(list, attachment, options, runner));
}

async function deleteEach(
  list: NetworkConfigList,
  attachment: Attachment,
  options: AddedOptions,
  runner: PluginRunner,
): Promise<readonly CniError[]> {
  const failures: CniError[] = [];
  const prevResult = prevResultForDelete(list, options);
  for (const plugin of list.plugins.toReversed()) {
    try {
      await runner.delete(configFor(list, plugin, options, prevResult), attachment);
    } catch (thrown) {
      failures.push(failureOf(list, plugin, 'delete', thrown));
    }
  }
  return failures;
}

/** DEL is given the result from 0.4.0 on. One that cannot be read is left out: DEL must go on without it. */
function prevResultForDelete(list: NetworkConfigList, { prevResult }: AddedOptions): JsonObject | undefined {
  if (prevResult === undefined || !hasCommand(list.cniVersion, 'CHECK')) return undefined;
  try {
    return inVersion(prevResult, list);
  } catch {
    return undefined;
  }
}

/**
 * Calls CHECK of each plugin in order, each with the result of the whole ADD. Does nothing where the list says
 * `disableCheck`.
 *
 * @throws {CniError} 1 when the list's version has no CHECK, 7 without prevResult; otherwise the first plugin's complaint.
 */
export async function checkList(
  list: NetworkConfigList,
  attachment: Attachment,
  options: AddedOptions,
  runner: PluginRunner,
): Promise<void> {
  requireCommand(list.cniVersion, 'CHECK');
  if (list.disableCheck) return;
  if (options.prevResult === undefined) {
    throw new CniError(ErrorCode.InvalidNetworkConfig, `network "${list.name}": CHECK needs the result of the ADD`);
  }
  const prevResult = inVersion(options.prevResult, list);
  for (const plugin of list.plugins) {
    await named(list, plugin, 'check', () => runner.check(configFor(list, plugin, options, prevResult), attachment));
  }
}

/**
 * Asks each plugin whether an ADD could succeed now. A list older than 1.1.0 cannot be asked, and counts as ready.
 *
 * @param path Where executed plugins are looked for.
 * @throws {CniError} the first plugin's complaint, with its code, 50 or 51.
 */
export async function statusList(
  list: NetworkConfigList,
  path: readonly string[],
  runner: PluginRunner,
): Promise<void> {
  if (!hasCommand(list.cniVersion, 'STATUS')) return;
  for (const plugin of list.plugins) {
    await named(list, plugin, 'status', () => runner.status(configFor(list, plugin, {}), path));
  }
}

export interface AttachmentKey {
  readonly containerId: string;
  readonly ifName: string;
}

/**
 * Lets each plugin remove what belongs to none of the attachments. Does nothing where the list says `disableGC`, or is
 * older than 1.1.0. Never to run beside ADD or DEL on the same network.
 *
 * @param path Where executed plugins are looked for.
 * @throws {CniError} the failures together, with the code of the first.
 */
export async function gcList(
  list: NetworkConfigList,
  validAttachments: readonly AttachmentKey[],
  path: readonly string[],
  runner: PluginRunner,
): Promise<void> {
  if (list.disableGC || !hasCommand(list.cniVersion, 'GC')) return;
  const valid = validAttachments.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }));
  // The specification once named the second key by mistake, and plugins were written to it.
  const attachments = { 'cni.dev/valid-attachments': valid, 'cni.dev/attachments': valid };
  const failures: CniError[] = [];
  for (const plugin of list.plugins) {
    try {
      await runner.gc({ ...configFor(list, plugin, {}), ...attachments }, path);
    } catch (thrown) {
      failures.push(failureOf(list, plugin, 'gc', thrown));
    }
  }
  throwTogether(failures);
}

/** The capabilities that at least one plugin of a network declares. */
export function capabilitiesOf(list: NetworkConfigList): ReadonlySet<string> {
  return new Set(list.plugins.flatMap(declared));
}

function declared(plugin: ListedPlugin): readonly string[] {
  const capabilities = plugin['capabilities'];
  if (!isJsonObject(capabilities)) return [];
  return Object.keys(capabilities).filter((capability) => capabilities[capability] === true);
}

/** What one plugin is given: its own configuration, with what comes from the list and from the attachment. */
export function configFor(
  list: NetworkConfigList,
  plugin: ListedPlugin,
  { runtimeConfig = {}, cniArgs = {}, deviceId }: ChainOptions,
  prevResult?: JsonObject,
): PluginConfig {
  const wanted = declared(plugin).filter((capability) => Object.hasOwn(runtimeConfig, capability));
  const hasArgs = Object.keys(cniArgs).length > 0;
  if (wanted.length === 0 && !hasArgs && !deviceId && prevResult === undefined) return ownConfig(list, plugin);
  const granted = Object.fromEntries(wanted.map((capability) => [capability, runtimeConfig[capability]]));
  return {
    ...plugin,
    ...(deviceId && { deviceID: deviceId, pciBusID: deviceId }),
    ...(hasArgs && { args: withCniArgs(plugin['args'], cniArgs) }),
    ...(wanted.length > 0 && { runtimeConfig: granted }),
    ...(prevResult && { prevResult }),
    cniVersion: list.cniVersion,
    name: list.name,
  };
}

/** By the plugin in its list. What nothing comes to from the attachment is one object for all: see {@link oncePerConfig}. */
const ownConfigs = new WeakMap<NetworkConfigList, Map<ListedPlugin, PluginConfig>>();

function ownConfig(list: NetworkConfigList, plugin: ListedPlugin): PluginConfig {
  const ofList = ownConfigs.get(list) ?? new Map<ListedPlugin, PluginConfig>();
  ownConfigs.set(list, ofList);
  const config = ofList.get(plugin) ?? freeze({ ...plugin, cniVersion: list.cniVersion, name: list.name });
  ofList.set(plugin, config);
  return config;
}

function withCniArgs(args: JsonObject[string], cniArgs: JsonObject): JsonObject {
  const own = isJsonObject(args) ? args : {};
  const cni = isJsonObject(own['cni']) ? own['cni'] : {};
  return { ...own, cni: { ...cni, ...cniArgs } };
}

/** As it is where it already has the list's version: what a plugin wrote then reaches it unchanged. */
function inVersion(raw: JsonObject, list: NetworkConfigList): JsonObject {
  if (raw['cniVersion'] === list.cniVersion) return raw;
  return encodeResult(decodeResult(raw, list.cniVersion, `network "${list.name}": prevResult`), list.cniVersion);
}

async function named(
  list: NetworkConfigList,
  plugin: ListedPlugin,
  command: string,
  call: () => Promise<void>,
): Promise<void> {
  try {
    await call();
  } catch (thrown) {
    throw failureOf(list, plugin, command, thrown);
  }
}

/** libcni's words, which people search their logs for. */
function failureOf(list: NetworkConfigList, plugin: ListedPlugin, command: string, thrown: unknown): CniError {
  const { code, message, details } = toCniError(thrown);
  const text = `plugin type="${plugin.type}" name="${list.name}" failed (${command}): ${message}`;
  return new CniError(code, text, details, { cause: thrown });
}

function throwTogether(failures: readonly CniError[]): void {
  const [first] = failures;
  if (first === undefined) return;
  if (failures.length === 1) throw first;
  const messages = failures.map(({ message }) => message).join('; ');
  const details = failures.map((failure) => failure.details).filter((text) => text !== '');
  throw new CniError(first.code, messages, details.join('; '), { cause: new AggregateError(failures) });
}
