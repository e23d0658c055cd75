import { type NetworkConfigList, parseNetworkConfig } from '../cni/config.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { NetworkSource } from './default-network.ts';
import { metaPlugins } from './network-file.ts';

/**
 * Reads a network's configuration. One that would call this very plugin is refused: it would wait for the sandbox that
 * waits for it.
 *
 * @throws {CniError} naming the object, the path in it and what was expected.
 */
export function readNetwork({ config, source, name }: Omit<NetworkSource, 'definition'>): NetworkConfigList {
  const list = parseNetworkConfig(config, source, { defaultName: name });
  const own = list.plugins.find(({ type }) => metaPlugins.has(type));
  if (own === undefined) return list;
  const message = `network "${list.name}": type: expected a network plugin, found "${own.type}", which attaches pods to networks`;
  throw new CniError(ErrorCode.InvalidNetworkConfig, message, source);
}
