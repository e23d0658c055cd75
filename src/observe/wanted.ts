import { hasInterface } from '../attach/network-status.ts';
import { plannedList } from '../attach/plan.ts';
import type { ListedPlugin, NetworkConfigList } from '../cni/config.ts';
import { decodeResult } from '../cni/convert.ts';
import { isJsonObject } from '../cni/json.ts';
import type { PluginConfig } from '../cni/plugin.ts';
import type { ResultIP } from '../cni/result.ts';
import type { Entry, PlannedAttachment } from '../journal/entry.ts';

/** What the result of an ADD says of its interface in the pod. */
export interface WantedInterface {
  /** Undefined where the result has none, or has there what is no MAC address, as aws-cni's. */
  readonly mac: string | undefined;
  /** `address/length`. */
  readonly addresses: readonly string[];
}

/**
 * Reads what one attachment was given.
 *
 * @returns undefined where its ADD has no result, and for an auxiliary chain without an interface.
 * @throws {CniError} when the journal has what is no result.
 */
export function wantedInterface(entry: Entry, planned: PlannedAttachment): WantedInterface | undefined {
  const { ifName, network } = planned;
  const raw = entry.results.get(ifName);
  if (raw === undefined) return undefined;
  const { cniVersion } = plannedList(planned);
  const result = decodeResult(raw, cniVersion, `network ${network}, interface ${ifName}: result`);
  if (!hasInterface({ ...planned, result })) return undefined;
  const { interfaces, ips } = result;
  const at = interfaces.findIndex(({ name, sandbox }) => name === ifName && sandbox);
  const isOwn = (ip: ResultIP): boolean => ip.interface === undefined || at < 0 || ip.interface === at;
  const mac = interfaces[at]?.mac?.toLowerCase();
  return {
    mac: mac !== undefined && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac) ? mac : undefined,
    addresses: ips.filter(isOwn).map(({ address }) => address),
  };
}

/** The plugins of a network that have their addresses from host-local, each as that is called for it. */
export function hostLocalConfigs(list: NetworkConfigList): PluginConfig[] {
  return list.plugins
    .filter(hasHostLocal)
    .map((plugin) => ({ ...plugin, cniVersion: list.cniVersion, name: list.name }));
}

const hasHostLocal = ({ ipam }: ListedPlugin): boolean => isJsonObject(ipam) && ipam['type'] === 'host-local';
