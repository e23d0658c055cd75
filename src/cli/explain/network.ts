import { ipamType, networkProblems, someDevice } from '../../attach/network-problems.ts';
import type { ReadyAttachment } from '../../attach/plan.ts';
import { configFor } from '../../cni/chain.ts';
import { toCniError } from '../../cni/error.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../cni/json.ts';
import type { PluginConfig } from '../../cni/plugin.ts';
import { formatIP, formatPrefix, hostPrefix, networkOf, parsePrefix } from '../../net/ip.ts';
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

/** Reads what a chain's plugins will be told, as they would. Nothing is asked of the kernel. */
export function explainNetwork(
  { planned, list, resource }: ReadyAttachment,
  builtin: ReadonlySet<string>,
): ExplainedNetwork {
  const { runtimeConfig, cniArgs } = planned;
  const deviceId = planned.deviceId ?? (resource && someDevice);
  const configs = list.plugins.map((plugin) => configFor(list, plugin, { runtimeConfig, cniArgs, deviceId }));
  const [first] = configs;
  const withIpam = configs.find(({ ipam }) => ipamType(ipam) !== undefined);
  const ipam = ipamType(withIpam?.['ipam']);
  const found = withIpam && ipam !== undefined ? explainIpam(ipam, withIpam) : nothing;
  const problems = networkProblems(configs, builtin);
  return {
    plugins: configs.map(({ type }) => type),
    ipam,
    ...found,
    master: first && masterOf(first),
    kind: first === undefined ? '' : kindOf(first),
    problems: [...new Set([...problems, ...found.problems])],
  };
}

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
