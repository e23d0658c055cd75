import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { findDefaultNetwork } from '../../attach/default-network.ts';
import { metaPlugins } from '../../attach/network-file.ts';
import { parseSettings, type Settings } from '../../attach/settings.ts';
import { configFor } from '../../cni/chain.ts';
import { type ListedPlugin, type NetworkConfigList, parseNetworkConfig } from '../../cni/config.ts';
import { findPlugin, PluginNotFoundError, type Root } from '../../cni/exec.ts';
import { splitPath } from '../../cni/invocation.ts';
import { isJsonObject, type JsonObject } from '../../cni/json.ts';
import { resolveIn } from '../../cni/root.ts';
import { hasCommand } from '../../cni/version.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import { pathOnNode } from '../cni-config/socket-dir.ts';
import type { Prepared, PreparedPlugin } from './prepared.ts';

export interface PrepareRequest {
  /** What the runtime sends, overlaid by the daemon's configuration. */
  readonly config: JsonObject;
  /** The version that the runtime asks for; undefined where it is not known. */
  readonly cniVersion: string | undefined;
  readonly cluster: Cluster | undefined;
  /** The root of the node, where that is not the daemon's. */
  readonly root: Root | undefined;
}

/**
 * Works out how the shim can attach a pod to its default network without a daemon: it executes plugins, and knows no other
 * way.
 *
 * @throws {Error} saying why it cannot.
 */
export async function prepareDefaultNetwork(request: PrepareRequest): Promise<Prepared> {
  const { config, cniVersion, cluster, root } = request;
  const settings = parseSettings(config, 'the configuration');
  const found = await findDefaultNetwork(settings, cluster);
  const list = parseNetworkConfig(found.config, found.source, { defaultName: found.name });
  if (cniVersion !== undefined && cniVersion !== list.cniVersion) {
    throw new Error(
      `the runtime asks for results in cniVersion ${cniVersion}, and ${found.source} is in ${list.cniVersion}; write both in one`,
    );
  }
  const directories = splitPath(settings.binDir);
  return {
    cniVersion: list.cniVersion,
    readinessFile: await readinessFile(settings, root),
    directories,
    network: { config: found.config, source: found.source, defaultName: found.name },
    hasPrevResult: hasCommand(list.cniVersion, 'CHECK'),
    plugins: await Promise.all(list.plugins.map((plugin) => preparePlugin(plugin, list, directories, root))),
  };
}

async function preparePlugin(
  plugin: ListedPlugin,
  list: NetworkConfigList,
  directories: readonly string[],
  root: Root | undefined,
): Promise<PreparedPlugin> {
  if (metaPlugins.has(plugin.type)) throw new Error(`plugin "${plugin.type}" attaches pods to networks itself`);
  const path = await binaryOf(plugin.type, directories, root);
  const { ipam, capabilities } = plugin;
  // It is the plugin that executes it, from the same directories.
  if (isJsonObject(ipam) && typeof ipam['type'] === 'string') await binaryOf(ipam['type'], directories, root);
  const { runtimeConfig: _, prevResult: __, ...config } = configFor(list, plugin, { cniArgs: {} });
  return {
    path,
    config: JSON.stringify(config),
    capabilities: isJsonObject(capabilities)
      ? Object.keys(capabilities).filter((name) => capabilities[name] === true)
      : [],
  };
}

/** Finds a plugin's binary, which must not be a link to the shim: that would ask the daemon. */
async function binaryOf(type: string, directories: readonly string[], root: Root | undefined): Promise<string> {
  let path: string;
  try {
    path = await findPlugin(type, directories, root);
  } catch (error) {
    if (!(error instanceof PluginNotFoundError)) throw error;
    throw new Error(`plugin "${type}" has no binary in ${directories.join(':')}, and only the daemon has it built in`);
  }
  const there = await inode(path, root);
  for (const name of metaPlugins) {
    if (typeof name === 'string' && there !== undefined && (await inode(join(dirname(path), name), root)) === there) {
      throw new Error(`${path} is a link to the CNI binary of Plexus, and only the daemon has that plugin built in`);
    }
  }
  return path;
}

async function inode(path: string, root: Root | undefined): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(root === undefined ? path : await resolveIn(root.directory, path));
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** The file of `readinessindicatorfile` as the node sees it. */
async function readinessFile({ readinessindicatorfile: file }: Settings, root: Root | undefined): Promise<string> {
  if (!file) return '';
  const directory = await pathOnNode(dirname(file), root?.directory).catch(() => undefined);
  if (directory !== undefined) return join(directory, basename(file));
  throw new Error(`readinessindicatorfile ${file} is not to be found below chrootDir`);
}
