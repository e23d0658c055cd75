import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CniError, ErrorCode } from '../cni/error.ts';
import { isJsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import { NetworkNotFoundError } from '../kubernetes/networks.ts';
import type { Settings } from './settings.ts';

/** A network's configuration as it was found. */
export interface NetworkSource {
  /** The text of a plugin's configuration or a conflist. */
  readonly config: string;
  /** Where it was found, for error messages. */
  readonly source: string;
  /** The network's name where the configuration has none. */
  readonly name: string;
}

/** The names of the meta-plugin, ours and Multus': a network that is one of these would call itself for ever. */
export const metaPlugins: ReadonlySet<unknown> = new Set(['plexus', 'multus', 'multus-shim']);

const isConfigurationFile = (name: string): boolean => /\.(conf|conflist|json)$/.test(name);

/**
 * Finds the network that every pod gets first.
 *
 * @throws {CniError} 7 telling each place that was looked at.
 */
export async function findDefaultNetwork(settings: Settings, cluster: Cluster | undefined): Promise<NetworkSource> {
  const { clusterNetwork, cniConfigDir, multusNamespace } = settings;
  const looked: string[] = [];
  if (!clusterNetwork.includes('/')) {
    if (cluster !== undefined) {
      const source = `NetworkAttachmentDefinition ${multusNamespace}/${clusterNetwork}`;
      const config = await definedConfig(cluster, multusNamespace, clusterNetwork);
      if (config) return { config, source, name: clusterNetwork };
      looked.push(source);
    }
    const named = await findByName(cniConfigDir, clusterNetwork);
    if (named !== undefined) return named;
    looked.push(`a configuration named "${clusterNetwork}" in ${cniConfigDir}`);
  }
  const file = await findFile(clusterNetwork);
  if (file !== undefined) return file;
  looked.push(`the path ${clusterNetwork}`);
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `the default network, clusterNetwork "${clusterNetwork}", was not found; looked for ${looked.join(', then ')}`,
    'install the default network, or name the one that is installed',
  );
}

async function definedConfig(cluster: Cluster, namespace: string, name: string): Promise<string | undefined> {
  try {
    return (await cluster.network(namespace, name)).spec.config;
  } catch (error) {
    if (error instanceof NetworkNotFoundError) return undefined;
    throw error;
  }
}

/**
 * Finds the configuration of a given network in a directory, as runtimes order it: by file name.
 *
 * @returns undefined when there is none.
 */
export async function findByName(directory: string, name: string): Promise<NetworkSource | undefined> {
  for (const path of await configurationFiles(directory)) {
    const found = await readSource(path);
    if (found?.name === name) return found;
  }
  return undefined;
}

async function findFile(path: string): Promise<NetworkSource | undefined> {
  const about = await stat(path).catch(() => undefined);
  if (about === undefined) return undefined;
  if (!about.isDirectory()) return readSource(path);
  for (const file of await configurationFiles(path)) {
    const found = await readSource(file);
    if (found !== undefined) return found;
  }
  return undefined;
}

async function configurationFiles(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch(() => []);
  return names
    .filter(isConfigurationFile)
    .sort()
    .map((name) => join(directory, name));
}

/** Reads one file; undefined when it is the meta-plugin's own. */
async function readSource(path: string): Promise<NetworkSource | undefined> {
  const config = await readFile(path, 'utf8');
  const json = parseJson(config, path);
  if (!isJsonObject(json)) throw new CniError(ErrorCode.DecodingFailure, `${path}: expected a JSON object`);
  const plugins = Array.isArray(json['plugins']) ? json['plugins'] : [json];
  if (plugins.some((plugin) => isJsonObject(plugin) && metaPlugins.has(plugin['type']))) return undefined;
  return { config, source: path, name: typeof json['name'] === 'string' ? json['name'] : '' };
}
