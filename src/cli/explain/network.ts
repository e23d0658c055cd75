import type { ReadyAttachment } from '../../attach/plan.ts';
import { configFor } from '../../cni/chain.ts';
import { CniError, ErrorCode, toCniError } from '../../cni/error.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../cni/json.ts';
import type { Plugin, PluginConfig, PluginRunner } from '../../cni/plugin.ts';
import { emptyResult } from '../../cni/result.ts';
import { formatIP, formatPrefix, hostPrefix, networkOf, parsePrefix } from '../../net/ip.ts';
import { builtinPlugins } from '../../plugins/builtin.ts';
import { parseHostLocalConfig } from '../../plugins/host-local/config.ts';
import { formatRangeSet, rangeFor } from '../../plugins/host-local/range.ts';

/** A network's configuration, as it is for one pod. */
export interface ExplainedNetwork {
  /** Types of the plugins of its chain, in order. */
  readonly plugins: readonly string[];
  /** The type of the IPAM plugin; undefined for none. */
  readonly ipam: string | undefined;
  /** Addresses to choose from, as `first-last`; those of a static network as they are. */
  readonly addresses: readonly string[];
  /** The subnets of those. */
  readonly subnets: readonly string[];
  readonly routes: readonly string[];
  /** The interface of the node that it stands on, where it names one. */
  readonly master: string | undefined;
  /** What kind of link the pod gets. */
  readonly kind: string;
  readonly problems: readonly string[];
}

/** Stands for a device that kubelet will choose. */
const someDevice = '0000:00:00.0';

/** Reads what a chain's plugins will be told, as they would. Nothing is asked of the kernel. */
export async function explainNetwork(
  { planned, list, resource }: ReadyAttachment,
  builtin: ReadonlySet<string>,
): Promise<ExplainedNetwork> {
  const { runtimeConfig, cniArgs } = planned;
  const deviceId = planned.deviceId ?? (resource && someDevice);
  const configs = list.plugins.map((plugin) => configFor(list, plugin, { runtimeConfig, cniArgs, deviceId }));
  const [first] = configs;
  const withIpam = configs.find(({ ipam }) => ipamType(ipam) !== undefined);
  const ipam = ipamType(withIpam?.['ipam']);
  const found = withIpam && ipam !== undefined ? explainIpam(ipam, withIpam) : nothing;
  const problems = [];
  for (const config of configs) problems.push(...(await problemsOf(config, config.type, builtin)));
  if (withIpam && ipam !== undefined) problems.push(...(await problemsOf(withIpam, ipam, builtin)));
  return {
    plugins: configs.map(({ type }) => type),
    ipam,
    ...found,
    master: first && masterOf(first),
    kind: first === undefined ? '' : kindOf(first),
    problems: [...new Set([...problems, ...found.problems])],
  };
}

const ipamType = (ipam: JsonValue | undefined): string | undefined =>
  isJsonObject(ipam) && typeof ipam['type'] === 'string' && ipam['type'] !== '' ? ipam['type'] : undefined;

interface ExplainedIpam extends Pick<ExplainedNetwork, 'addresses' | 'subnets' | 'routes' | 'problems'> {}

const nothing: ExplainedIpam = { addresses: [], subnets: [], routes: [], problems: [] };

function explainIpam(type: string, config: PluginConfig): ExplainedIpam {
  const own = isJsonObject(config['ipam']) ? config['ipam'] : {};
  const routes = objectsIn(own['routes']).map(({ dst, gw }) => `${dst}${gw === undefined ? '' : ` via ${gw}`}`);
  if (type === 'host-local') return explainHostLocal(config, routes);
  const requested = isJsonObject(config['runtimeConfig']) ? textsIn(config['runtimeConfig']['ips']) : [];
  if (type !== 'static') return { ...nothing, addresses: textsIn([own['range'], own['subnet']]), routes };
  const fixed = objectsIn(own['addresses']).flatMap(({ address }) => textsIn([address]));
  const addresses = requested.length > 0 ? requested : fixed;
  return { ...nothing, addresses, subnets: addresses.flatMap(subnetOf), routes };
}

/** None for an address that stands alone, or is none. */
function subnetOf(text: string): string[] {
  try {
    const { ip, length } = parsePrefix(text);
    return length === hostPrefix(ip).length ? [] : [formatPrefix({ ip: networkOf({ ip, length }), length })];
  } catch {
    return [];
  }
}

function explainHostLocal(config: PluginConfig, routes: readonly string[]): ExplainedIpam {
  try {
    const { sets, requested } = parseHostLocalConfig(config, new Map());
    const outside = requested.filter((ip) => !sets.some((set) => rangeFor(set, ip)));
    return {
      addresses: sets.map(formatRangeSet),
      subnets: sets.flatMap((set) => set.map(({ subnet }) => formatPrefix(subnet))),
      routes,
      problems: outside.map((ip) => `the pod asks for ${formatIP(ip)}, which is in no range of the network`),
    };
  } catch (error) {
    return { ...nothing, routes, problems: [toCniError(error).message] };
  }
}

/**
 * What a built-in plugin says of its configuration. CHECK reads it first, and changes nothing; of a namespace that there
 * is not, it can say nothing more.
 */
async function problemsOf(config: PluginConfig, type: string, builtin: ReadonlySet<string>): Promise<string[]> {
  const plugin = builtin.has(type) ? plugins.get(type) : undefined;
  if (plugin === undefined || type === 'host-local') return [];
  const attachment = { containerId: 'explained', netns: '/proc/self/none', ifName: 'net1', args: noArgs, path: [] };
  try {
    await plugin.check({ config, attachment, prevResult: emptyResult, plugins: nobody });
  } catch (error) {
    if (error instanceof CniError && error.code === ErrorCode.InvalidNetworkConfig) return [error.message];
  }
  return [];
}

const plugins: ReadonlyMap<string, Plugin> = new Map(builtinPlugins.map((plugin) => [plugin.type, plugin]));

const noArgs = new Map([['IgnoreUnknown', '1']]);

/** IPAM plugins are looked at on their own. */
const nobody: PluginRunner = {
  add: () => Promise.resolve(emptyResult),
  delete: () => Promise.resolve(),
  check: () => Promise.resolve(),
  status: () => Promise.resolve(),
  gc: () => Promise.resolve(),
};

function masterOf({ type, master, device, bridge }: PluginConfig): string | undefined {
  const [named] = textsIn([master, device, bridge]);
  return named ?? (type === 'bridge' ? 'cni0' : undefined);
}

/** As the kernel's links are called in a drawing of a pod that there is. */
function kindOf({ type, mode }: PluginConfig): string {
  if (type === 'bridge' || type === 'ptp') return 'veth';
  const modes: Readonly<Record<string, string>> = { macvlan: 'bridge', ipvlan: 'l2' };
  const given = typeof mode === 'string' && mode !== '' ? mode : modes[type];
  return given === undefined ? type : `${type} ${given}`;
}

const objectsIn = (value: JsonValue | undefined): JsonObject[] =>
  isJsonArray(value) ? value.filter((each) => isJsonObject(each)) : [];

const textsIn = (value: JsonValue | undefined | readonly (JsonValue | undefined)[]): string[] =>
  Array.isArray(value) ? value.filter((each) => typeof each === 'string' && each !== '') : [];
