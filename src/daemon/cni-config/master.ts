import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { metaPlugins } from '../../attach/network-file.ts';
import { type NetworkConfigList, parseNetworkConfig } from '../../cni/config.ts';
import { isJsonArray, isJsonObject, type JsonValue } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import { withPluginFiles } from '../../cni/plugin-files.ts';

/** The default network of the node, as whoever brings it has installed it. */
export interface Master {
  readonly path: string;
  readonly list: NetworkConfigList;
}

/** The configuration that everybody waits for is not there. */
export class NoMasterError extends Error {
  override readonly name = 'NoMasterError';
}

/**
 * Finds the configuration that Plexus stands before: the first one of a directory, by file name, as Multus chooses it.
 * What calls a meta-plugin, and what Multus left behind (00-multus*), is passed over. A file that cannot be read is not:
 * it may be half-written, and the next one is not the network that was meant.
 *
 * @param named The file's name, where the administrator gave it.
 * @throws {NoMasterError} when there is none, telling what was looked for.
 * @throws {CniError} naming the file and what is wrong with it.
 */
export async function findMaster(directory: string, named: string | undefined): Promise<Master> {
  const names = named === undefined ? await candidates(directory) : [named];
  for (const name of names) {
    const path = join(directory, name);
    const text = await readFile(path, 'utf8').catch(undefinedIfMissing);
    if (text === undefined) continue;
    if (!callsMetaPlugin(parseJson(text, path))) {
      return { path, list: parseNetworkConfig(await withPluginFiles(text, path), path) };
    }
    if (named !== undefined) throw new Error(`multusMasterCNI: ${path} calls Plexus or Multus itself`);
  }
  throw new NoMasterError(
    named === undefined
      ? `there is no CNI configuration in ${directory}: no file with the ending .conf or .conflist, but those that call Plexus or Multus`
      : `multusMasterCNI: ${join(directory, named)} is not there`,
  );
}

async function candidates(directory: string): Promise<string[]> {
  const entries = (await readdir(directory, { withFileTypes: true }).catch(undefinedIfMissing)) ?? [];
  return entries
    .filter((entry) => !entry.isDirectory() && /\.(conf|conflist)$/.test(entry.name))
    .map(({ name }) => name)
    .filter((name) => !name.startsWith('00-multus'))
    .sort();
}

/** Whether a configuration, or a plugin in its list, is that of a meta-plugin. */
export function callsMetaPlugin(config: JsonValue): boolean {
  if (!isJsonObject(config)) return false;
  const plugins = isJsonArray(config['plugins']) ? config['plugins'] : [config];
  return plugins.some((plugin) => isJsonObject(plugin) && metaPlugins.has(plugin['type']));
}

export function undefinedIfMissing(error: unknown): undefined {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
}
