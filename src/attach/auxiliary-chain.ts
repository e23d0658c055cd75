import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readPluginFiles } from '../cni/plugin-files.ts';
import type { NetworkSource } from './default-network.ts';
import type { Settings } from './settings.ts';

/** First of every auxiliary chain: the plugins after it are called with a result before theirs, as in any chain. */
const first = { type: 'passthru', name: 'passthru-cni' };

/**
 * Finds the chain that every pod goes through last of all, `auxiliaryCNIChainName`: passthru, then the plugins of the
 * directory of that name. It is beside the default network's file, as Multus has it, or else in `cniConfigDir`.
 *
 * @returns None where nobody has put a plugin there.
 * @throws {CniError} naming the file that cannot be read, and what is wrong with it.
 */
export async function auxiliaryChain(settings: Settings): Promise<NetworkSource[]> {
  const { auxiliaryCNIChainName: name, cniVersion } = settings;
  if (!name) return [];
  for (const directory of await directories(settings)) {
    const plugins = await readPluginFiles(join(directory, name));
    if (plugins.length === 0) continue;
    const config = JSON.stringify({ cniVersion, name, plugins: [first, ...plugins] });
    return [{ config, source: `auxiliaryCNIChainName, ${join(directory, name)}`, name }];
  }
  return [];
}

async function directories({ clusterNetwork = '', cniConfigDir }: Settings): Promise<ReadonlySet<string>> {
  if (!clusterNetwork.includes('/')) return new Set([cniConfigDir]);
  const isDirectory = await stat(clusterNetwork).then(
    (found) => found.isDirectory(),
    () => false,
  );
  return new Set([isDirectory ? clusterNetwork : dirname(clusterNetwork), cniConfigDir]);
}
