import { readdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { NetworkAttachmentDefinition } from '../kubernetes/schemas.ts';
import { auxiliaryChain } from './auxiliary-chain.ts';
import { type NetworkFile, readNetworkFile } from './network-file.ts';
import type { Settings } from './settings.ts';

/** A network's configuration as it was found. */
export interface NetworkSource extends NetworkFile {
  /** The object that it was found by, where it was found by one. */
  readonly definition?: NetworkAttachmentDefinition;
}

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
  const inline = furtherDelegates(settings);
  if (namespace === undefined || settings.systemNamespaces.includes(namespace)) return inline;
  return [...inline, ...(await Promise.all(findNamedNetworks(settings, cluster)))];
}

/**
 * Finds all networks that pods get without asking for any, the default network first.
 *
 * @throws {CniError} 7 telling each place that was looked at.
 */
export async function findCommonNetworks(
  settings: Settings,
  cluster: Cluster | undefined,
): Promise<readonly [NetworkSource, ...NetworkSource[]]> {
  const [first, auxiliary, ...named] = await Promise.all([
    findDefaultNetwork(settings, cluster),
    auxiliaryChain(settings),
    ...findNamedNetworks(settings, cluster),
  ]);
  return [first, ...furtherDelegates(settings), ...named, ...auxiliary];
}

/** Finds each of `defaultNetworks`, in order. */
export function findNamedNetworks(settings: Settings, cluster: Cluster | undefined): Promise<NetworkSource>[] {
  return settings.defaultNetworks.map((each, index) =>
    find(each, `network defaultNetworks[${index}],`, settings, cluster),
  );
}

/** The delegates behind the first, which is the default network. */
function furtherDelegates(settings: Settings): NetworkSource[] {
  return settings.clusterNetwork ? [] : inlineNetworks(settings).slice(1);
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

/** Which of a directory's files is looked at first. */
type FileOrder = (files: readonly string[]) => readonly string[];

/** As runtimes have it. */
const byFileName: FileOrder = (files) => files;

/** Lists before plugins: for a NetworkAttachmentDefinition without a configuration (specification v1.3, section 3.4.1). */
export const listsFirst: FileOrder = (files) =>
  ['.conflist', '.conf', '.json'].flatMap((kind) => files.filter((file) => extname(file) === kind));

/**
 * Finds the configuration of a given network in a directory. A file that cannot be read is no matter where another is
 * the one that is looked for.
 *
 * @returns undefined when there is none.
 * @throws {CniError} when there is none that can be read, naming those that cannot.
 */
export async function findByName(
  directory: string,
  name: string,
  order: FileOrder = byFileName,
): Promise<NetworkSource | undefined> {
  const problems: CniError[] = [];
  for (const path of order(await configurationFiles(directory))) {
    try {
      const found = await readNetworkFile(path);
      if (found?.name === name) return found;
    } catch (error) {
      problems.push(toCniError(error));
    }
  }
  const [first] = problems;
  if (first === undefined) return undefined;
  const messages = problems.map(({ message }) => message).join('; ');
  throw new CniError(
    first.code,
    `no configuration in ${directory} that can be read is named "${name}": ${messages}`,
    'correct those files on the node, or take them away',
  );
}

async function findFile(path: string): Promise<NetworkSource | undefined> {
  try {
    return await readNetworkFile(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code !== 'EISDIR') throw error;
  }
  for (const file of await configurationFiles(path)) {
    const found = await readNetworkFile(file);
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
