import { CniError } from '../cni/error.ts';
import { isJsonObject, type JsonValue } from '../cni/json.ts';
import type { Plugin, PluginConfig } from '../cni/plugin.ts';
import { requireSupported } from '../cni/version.ts';
import { builtinPlugins } from '../plugins/builtin.ts';

/** Stands for a device that kubelet will choose. */
export const someDevice = '0000:00:00.0';

/** The type of the IPAM plugin that a configuration names; undefined for none. */
export const ipamType = (ipam: JsonValue | undefined): string | undefined =>
  isJsonObject(ipam) && typeof ipam['type'] === 'string' && ipam['type'] !== '' ? ipam['type'] : undefined;

/**
 * What the plugins of a chain have against their configurations, IPAM plugins among them. Nothing is changed, and nobody is
 * asked: neither the kernel, nor the disk, nor the cluster.
 *
 * @param configs What each plugin of the chain will be given.
 * @param builtin Types that run in process: of the others nothing is known.
 */
export function networkProblems(configs: readonly PluginConfig[], builtin: ReadonlySet<string>): string[] {
  const own = configs.flatMap((config) => problemsOf(config, config.type, builtin));
  const ipam = configs.flatMap((config) => problemsOf(config, ipamType(config['ipam']), builtin));
  return [...new Set([...own, ...ipam])];
}

function problemsOf(config: PluginConfig, type: string | undefined, builtin: ReadonlySet<string>): string[] {
  const plugin = type !== undefined && builtin.has(type) ? plugins.get(type) : undefined;
  if (plugin === undefined) return [];
  try {
    requireSupported(config.cniVersion, plugin.versions);
    plugin.validate?.({ config, attachment });
    return [];
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const { message, details } = error;
    const text = message.startsWith('network "') ? message : `${type}: ${message}`;
    return [details === '' ? text : `${text} (${details})`];
  }
}

const plugins: ReadonlyMap<string, Plugin> = new Map(builtinPlugins.map((plugin) => [plugin.type, plugin]));

/** Of a pod that there is not: only its arguments are read. */
const attachment = {
  containerId: 'explained',
  netns: '',
  ifName: 'net1',
  args: new Map([['IgnoreUnknown', '1']]),
  path: [],
};
