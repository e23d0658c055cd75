import { z } from 'zod';
import { CniError, ErrorCode } from './error.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import { freeze } from './once.ts';
import { parseJson } from './parse-json.ts';
import type { PluginConfig } from './plugin.ts';
import { parseWith, show } from './schema.ts';
import { validateNetworkName } from './validate.ts';
import { defaultVersion, negotiateVersion } from './version.ts';

/** A plugin in a list, as it was written. Name and cniVersion are the list's and come in when it is called. */
export interface ListedPlugin extends JsonObject {
  readonly type: string;
}

/** A network: the plugins to call for it, in order (specification 1.1.0, section "Configuration format"). */
export interface NetworkConfigList {
  /** The version to call the plugins in: the newest of `cniVersion` and `cniVersions` that is known. */
  readonly cniVersion: string;
  readonly name: string;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  /** Whether plugins of the directory named like the network are left out. */
  readonly loadOnlyInlinedPlugins: boolean;
  readonly plugins: readonly ListedPlugin[];
}

/** More plugins than any chain has; each costs a process where it is executed. */
const maxPlugins = 32;

const text = z.string('expected a string');

const flag = z
  .union([z.boolean(), z.enum(['true', 'True', 'TRUE', 't', 'T', '1', 'false', 'False', 'FALSE', 'f', 'F', '0'])], {
    error: 'expected true or false',
  })
  .default(false)
  .transform((value) => value === true || (typeof value === 'string' && /^(t|1)/i.test(value)));

const pluginType = z
  .string('expected the name of a plugin')
  .regex(/^[^/\0]+$/, 'expected the name of a plugin, without a slash');

const listedPluginSchema = z.looseObject({
  type: pluginType,
  capabilities: z.record(z.string(), z.boolean('expected true or false')).optional(),
});

/** What is to be known of a network beside its plugins. */
export const networkSchema = z.object({
  cniVersion: text.optional(),
  cniVersions: z.array(text).max(100).optional(),
  name: text.optional(),
  disableCheck: flag,
  disableGC: flag,
  loadOnlyInlinedPlugins: flag,
});

const listSchema = networkSchema.extend({
  plugins: z
    .array(listedPluginSchema, 'expected a list of plugins')
    .min(1, 'expected at least one plugin')
    .max(maxPlugins, `expected at most ${maxPlugins} plugins`),
});

export interface ParseOptions {
  /** What to call the network where its configuration has no name. */
  readonly defaultName?: string | undefined;
}

/**
 * Reads a network's configuration: a list, or one plugin's configuration, which becomes a list of one. What was read is one
 * frozen object for all who ask for the same.
 *
 * @param source The file or object that it comes from, as every message begins.
 * @throws {CniError} 6 for malformed JSON, 7 for a wrong or missing key, 1 for a version that nobody here knows.
 */
export function parseNetworkConfig(json: string, source: string, options: ParseOptions = {}): NetworkConfigList {
  const key = JSON.stringify([json, source, options.defaultName]);
  const before = lists.get(key);
  if (before !== undefined) return before;
  const config = parseJson(json, source);
  if (!isJsonObject(config)) throw notAnObject(config, source);
  const list = freeze(networkConfigOf(config, source, options));
  remember(key, list);
  return list;
}

/** What was read, by the text: the pods of a network come one after the other, with the same. */
const lists = new Map<string, NetworkConfigList>();

/** A node has some networks, of some hundred characters each. */
const maxLists = 64;
const maxKey = 16_384;

function remember(key: string, list: NetworkConfigList): void {
  if (key.length > maxKey) return;
  const [oldest] = lists.keys();
  if (lists.size >= maxLists && oldest !== undefined) lists.delete(oldest);
  lists.set(key, list);
}

/** {@link parseNetworkConfig} for JSON that was already read. */
export function networkConfigOf(config: JsonObject, source: string, options: ParseOptions = {}): NetworkConfigList {
  const network = parseWith(networkSchema, config, source);
  const plugins = 'plugins' in config ? readPlugins(config, source) : [readOnlyPlugin(config, source)];
  const name = network.name ?? options.defaultName ?? '';
  return located(source, () => {
    validateNetworkName(name);
    const { disableCheck, disableGC, loadOnlyInlinedPlugins } = network;
    const cniVersion = negotiateVersion(network.cniVersion, network.cniVersions);
    return { cniVersion, name, disableCheck, disableGC, loadOnlyInlinedPlugins, plugins };
  });
}

/** The plugins as they were written, every key kept: only their types were looked at. */
function readPlugins(config: JsonObject, source: string): readonly ListedPlugin[] {
  const { plugins } = parseWith(listSchema, config, source);
  const written = config['plugins'];
  return plugins.map(({ type }, index) => {
    const plugin = isJsonArray(written) ? written[index] : undefined;
    return { ...(isJsonObject(plugin) && plugin), type };
  });
}

/** Reads the configuration of one plugin. @throws {CniError} 7 where it has no type. */
export function readOnlyPlugin(config: JsonObject, source: string): ListedPlugin {
  if (Object.keys(config).every((key) => key.toLowerCase() !== 'type')) {
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `${source}: expected plugins, a list of plugins, or type, the name of the only one; found neither`,
    );
  }
  return { ...config, type: parseWith(listedPluginSchema, config, source).type };
}

const pluginConfigSchema = z.object({ cniVersion: text.optional(), name: text.optional(), type: text.optional() });

/**
 * Reads what one plugin is given on standard input. Every key is kept.
 *
 * @param plugin The plugin that was called, for a configuration that does not say.
 * @throws {CniError} 6 for malformed JSON, 7 for a bad name.
 */
export function parsePluginInput(json: string, plugin: string): PluginConfig {
  const source = 'network configuration on standard input';
  const config = parseJson(json, source);
  if (!isJsonObject(config)) throw notAnObject(config, source);
  const { cniVersion, name = '', type = plugin } = parseWith(pluginConfigSchema, config, 'network configuration');
  validateNetworkName(name);
  return { ...config, cniVersion: cniVersion || defaultVersion, name, type };
}

function notAnObject(found: JsonValue, source: string): CniError {
  return new CniError(ErrorCode.DecodingFailure, `${source}: expected a JSON object, found ${show(found)}`);
}

function located<T>(source: string, read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (!(thrown instanceof CniError)) throw thrown;
    throw new CniError(thrown.code, `${source}: ${thrown.message}`, thrown.details);
  }
}
