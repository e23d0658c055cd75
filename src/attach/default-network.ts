import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CniError, ErrorCode } from '../cni/error.ts';
import { isJsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { NetworkAttachmentDefinition } from '../kubernetes/schemas.ts';
import type { Settings } from './settings.ts';

/** A network's configuration as it was found. */
export interface NetworkSource {
  /** The text of a plugin's configuration or a conflist. */
  readonly config: string;
  /** Where it was found, for error messages. */
  readonly source: string;
  /** The network's name where the configuration has none. */
  readonly name: string;
  /** The object that it was found by, where it was found by one. */
  readonly definition?: NetworkAttachmentDefinition;
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
  const { clusterNetwork } = settings;
  if (clusterNetwork) return find(clusterNetwork, 'default network, clusterNetwork', settings, cluster);
  const [first] = inlineNetworks(settings);
  if (first === undefined) throw new Error('settings without clusterNetwork have delegates');
  return first;
}

/**
 * Finds the networks that a pod gets next without asking for any: those of `delegates`, then `defaultNetworks`.
 *
 * @param namespace The pod's; undefined for a sandbox of which no pod is known, which gets none of `defaultNetworks`.
 * @throws {CniError} 7 telling each place that was looked at.
 */
export async function findFurtherNetworks(
  namespace: string | undefined,
  settings: Settings,
  cluster: Cluster | undefined,
): Promise<NetworkSource[]> {
  const { clusterNetwork, defaultNetworks, systemNamespaces } = settings;
  const inline = clusterNetwork ? [] : inlineNetworks(settings).slice(1);
  if (namespace === undefined || systemNamespaces.includes(namespace)) return inline;
  const named = defaultNetworks.map((each, index) =>
    find(each, `network defaultNetworks[${index}],`, settings, cluster),
  );
  return [...inline, ...(await Promise.all(named))];
}

function inlineNetworks({ delegates }: Settings): NetworkSource[] {
  return delegates.map((config, index) => ({
    config: JSON.stringify(config),
    source: `delegates[${index}]`,
    name: '',
  }));
}

/** @param what Of the configuration, for error messages. */
async function find(
  wanted: string,
  what: string,
  { confDir, cniConfigDir, multusNamespace }: Settings,
  cluster: Cluster | undefined,
): Promise<NetworkSource> {
  const looked: string[] = [];
  if (!wanted.includes('/')) {
    if (cluster !== undefined) {
      const found = await findDefinition(cluster, multusNamespace, wanted);
      if (found !== undefined) return found;
      looked.push(`NetworkAttachmentDefinition ${multusNamespace}/${wanted}`);
    }
    for (const directory of new Set([confDir, cniConfigDir])) {
      const named = await findByName(directory, wanted);
      if (named !== undefined) return named;
      looked.push(`a configuration named "${wanted}" in ${directory}`);
    }
  }
  const file = await findFile(wanted);
  if (file !== undefined) return file;
  looked.push(`the path ${wanted}`);
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `the ${what} "${wanted}", was not found; looked for ${looked.join(', then ')}`,
    `install ${what.startsWith('default') ? 'the default network' : 'that network'}, or name the one that is installed`,
  );
}

async function findDefinition(cluster: Cluster, namespace: string, name: string): Promise<NetworkSource | undefined> {
  const definition = await cluster.networkIfAny(namespace, name);
  // An empty one stands for a configuration of its name in a directory.
  if (definition === undefined || definition.spec.config.trim() === '') return undefined;
  const { config } = definition.spec;
  return { config, source: `NetworkAttachmentDefinition ${namespace}/${name}`, name, definition };
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
