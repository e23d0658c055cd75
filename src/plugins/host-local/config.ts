import { isAbsolute, join, normalize } from 'node:path';
import { z } from 'zod';
import { type CniArgs, requireKnownArgs } from '../../cni/args.ts';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { oncePerConfig } from '../../cni/once.ts';
import type { PluginConfig } from '../../cni/plugin.ts';
import type { ResultRoute } from '../../cni/result.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { validateNetworkName } from '../../cni/validate.ts';
import { compareVersions } from '../../cni/version.ts';
import type { IP } from '../../net/ip.ts';
import { address, addressOrPrefix, optional, prefix, route } from '../ipam-schema.ts';
import { type RangeConfig, type RangeSet, rangeSetOf, setsOverlap } from './range.ts';

/** What a host-local network is, checked and with every default filled in. */
export interface HostLocalConfig {
  readonly network: string;
  /** Where its reservations are: one file for each address. */
  readonly directory: string;
  readonly sets: readonly RangeSet[];
  /** Addresses that the pod asks for, from CNI_ARGS, args.cni.ips and runtimeConfig.ips in that order. */
  readonly requested: readonly IP[];
  readonly routes: readonly ResultRoute[];
  /** A resolv.conf whose content becomes the result's dns. */
  readonly resolvConf: string | undefined;
}

export const defaultDataDir = '/var/lib/cni/networks';

const maxSets = 64;

const rangeSchema = z.object({
  subnet: prefix,
  rangeStart: optional(address),
  rangeEnd: optional(address),
  gateway: optional(address),
});

const rangeSetsSchema = z.array(z.array(rangeSchema).max(maxSets)).max(maxSets);

const dataDirSchema = z.string().refine(isPlainDirectory, 'expected an absolute path without ".."');

/** All that DEL, CHECK and GC need: a configuration that went wrong elsewhere since the ADD still lets go. */
const locationSchema = z.object(
  { ipam: z.object({ dataDir: optional(dataDirSchema) }, { error: missingIpam }) },
  'expected a network configuration',
);

const schema = z.object({
  ipam: z.object(
    {
      subnet: optional(prefix),
      rangeStart: optional(address),
      rangeEnd: optional(address),
      gateway: optional(address),
      ranges: rangeSetsSchema.optional(),
      routes: z.array(route).max(1000).optional(),
      dataDir: optional(dataDirSchema),
      resolvConf: optional(z.string().refine(isAbsolute, 'expected an absolute path')),
    },
    { error: missingIpam },
  ),
  runtimeConfig: z
    .object({ ipRanges: rangeSetsSchema.optional(), ips: z.array(addressOrPrefix).max(maxSets).optional() })
    .optional(),
  args: z.object({ cni: z.object({ ips: z.array(addressOrPrefix).max(maxSets).optional() }).optional() }).optional(),
});

/**
 * Reads the network's configuration and what the pod asks for.
 *
 * @throws {CniError} 7 for a key of the wrong form; 999 in the words of the original for ranges that make no sense
 *   together and for keys in CNI_ARGS that it does not know.
 */
export function parseHostLocalConfig(config: PluginConfig, args: CniArgs): HostLocalConfig {
  const parsed = networkOf(config);
  requireKnownArgs(args, ['IP']);
  return { ...parsed, requested: [...requestedByArgs(config, args), ...parsed.requested] };
}

const networkOf = oncePerConfig((config): HostLocalConfig => {
  const { ipam, runtimeConfig, args } = parsePluginConfig(schema, config);
  const own = ipam.subnet === undefined ? [] : [[{ ...ipam, subnet: ipam.subnet }]];
  const ranges = [...(runtimeConfig?.ipRanges ?? []), ...own, ...(ipam.ranges ?? [])];
  return {
    network: config.name,
    directory: directoryOf(config.name, ipam.dataDir),
    sets: parseSets(config, ranges),
    requested: [...(args?.cni?.ips ?? []), ...(runtimeConfig?.ips ?? [])],
    routes: ipam.routes ?? [],
    resolvConf: ipam.resolvConf,
  };
});

/**
 * The directory of a network's reservations.
 *
 * @throws {CniError} 7 when the name or the dataDir could lead anywhere else.
 */
export function parseDirectory(config: PluginConfig): string {
  return directoryOf(config.name, parsePluginConfig(locationSchema, config).ipam.dataDir);
}

function directoryOf(network: string, dataDir = defaultDataDir): string {
  validateNetworkName(network);
  return join(dataDir, network);
}

function parseSets({ name, cniVersion }: PluginConfig, ranges: readonly (readonly RangeConfig[])[]): RangeSet[] {
  if (ranges.length === 0) throw invalid(name, 'no IP ranges specified');
  const sets = ranges.map((each, index) => {
    try {
      return rangeSetOf(each);
    } catch (thrown) {
      throw invalid(name, `invalid range set ${index}: ${thrown instanceof Error ? thrown.message : thrown}`);
    }
  });
  const perFamily = [4, 6].map((family) => sets.filter(([first]) => first.start.family === family).length);
  if (Math.max(...perFamily) > 1 && compareVersions(cniVersion, '0.3.0') < 0) {
    throw invalid(name, `CNI version ${cniVersion} does not support more than 1 address per family`);
  }
  for (const [index, set] of sets.entries()) {
    const other = sets.findIndex((each, place) => place > index && setsOverlap(set, each));
    if (other >= 0) throw invalid(name, `range set ${index} overlaps with ${other}`);
  }
  return sets;
}

function requestedByArgs({ name }: PluginConfig, args: CniArgs): IP[] {
  const text = args.get('IP');
  if (text === undefined || text === '') return [];
  const parsed = addressOrPrefix.safeParse(text);
  if (!parsed.success) throw invalid(name, `CNI_ARGS: IP: invalid IP address ${text}`);
  return [parsed.data];
}

function isPlainDirectory(path: string): boolean {
  return isAbsolute(path) && !path.includes('\0') && !path.split('/').includes('..') && normalize(path) !== '/';
}

function missingIpam(issue: { readonly input: unknown }): string {
  return issue.input === undefined ? "IPAM config missing 'ipam' key" : 'expected an object';
}

/** The original answers 999 for everything that is wrong in its configuration. */
function invalid(network: string, problem: string): CniError {
  return new CniError(ErrorCode.Internal, `network "${network}": ${problem}`);
}
