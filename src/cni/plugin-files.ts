import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ListedPlugin, networkSchema, readOnlyPlugin } from './config.ts';
import { CniError, ErrorCode } from './error.ts';
import { isJsonArray, isJsonObject } from './json.ts';
import { parseJson } from './parse-json.ts';
import { parseWith } from './schema.ts';
import { isNetworkName } from './validate.ts';

/**
 * Reads the plugins that others add to a network: each file `*.conf` of a directory is the configuration of one. They are
 * called in the order of file names.
 *
 * @returns None where there is no such directory.
 * @throws {CniError} 5 for a file that cannot be read, 6 for malformed JSON, 7 for one without a type.
 */
export async function readPluginFiles(directory: string): Promise<ListedPlugin[]> {
  const plugins: ListedPlugin[] = [];
  for (const path of await pluginFiles(directory)) {
    const config = parseJson(await readFile(path, 'utf8').catch(unreadable), path);
    if (!isJsonObject(config)) throw new CniError(ErrorCode.DecodingFailure, `${path}: expected a JSON object`);
    plugins.push(readOnlyPlugin(config, path));
  }
  return plugins;
}

async function pluginFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((error: unknown) =>
    isMissing(error) ? [] : unreadable(error),
  );
  return entries
    .filter((entry) => !entry.isDirectory() && entry.name.endsWith('.conf'))
    .map(({ name }) => join(directory, name))
    .sort();
}

/**
 * A network's configuration as its file has it, with the plugins of the directory beside it that is named like the network,
 * unless it says `loadOnlyInlinedPlugins` (specification 1.1.0, section 1; libcni, NetworkConfFromFile). Only a list is
 * added to, not the configuration of one plugin.
 *
 * @param text What is in the file.
 * @returns The text itself where nothing is added.
 * @throws {CniError} as {@link readPluginFiles}.
 */
export async function withPluginFiles(text: string, path: string): Promise<string> {
  const config = parseJson(text, path);
  if (!isJsonObject(config)) return text;
  const { plugins: inlined = [] } = config;
  const isList = 'plugins' in config || Object.keys(config).every((key) => key.toLowerCase() !== 'type');
  if (!isList || !isJsonArray(inlined)) return text;
  const { name = '', loadOnlyInlinedPlugins } = parseWith(networkSchema, config, path);
  if (loadOnlyInlinedPlugins || !isNetworkName(name)) return text;
  const added = await readPluginFiles(join(dirname(path), name));
  return added.length === 0 ? text : JSON.stringify({ ...config, plugins: [...inlined, ...added] });
}

/** A file of that name is no directory either. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

function unreadable(error: unknown): never {
  throw new CniError(ErrorCode.IoFailure, error instanceof Error ? error.message : String(error), '', { cause: error });
}
