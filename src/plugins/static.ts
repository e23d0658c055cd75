import { z } from 'zod';
import { type CniArgs, requireKnownArgs } from '../cni/args.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { ConfigCall, Plugin } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions, compareVersions } from '../cni/version.ts';
import { contains, equalIP, formatIP, formatPrefix, type IP, type Prefix, parseIP, parsePrefix } from '../net/ip.ts';
import { address, addressAndPrefix, dns, optional, route } from './ipam-schema.ts';

interface StaticAddress {
  readonly address: Prefix;
  readonly gateway: IP | undefined;
}

const maxAddresses = 64;

const schema = z.object({
  ipam: z.object(
    {
      addresses: z
        .array(z.object({ address: addressAndPrefix, gateway: optional(address) }))
        .max(maxAddresses)
        .default([]),
      routes: z.array(route).max(1000).default([]),
      dns: dns.default({}),
    },
    {
      error: ({ input }) => (input === undefined ? "IPAM config missing 'ipam' key" : 'expected an object'),
    },
  ),
  args: z
    .object({ cni: z.object({ ips: z.array(addressAndPrefix).max(maxAddresses).optional() }).optional() })
    .optional(),
  runtimeConfig: z.object({ ips: z.array(addressAndPrefix).max(maxAddresses).optional() }).optional(),
});

/**
 * IPAM that hands out what the configuration or the pod says, and reserves nothing.
 *
 * Equal to the containernetworking plugin, but that CHECK finds an address that is missing from the result, not only one
 * with another gateway.
 */
export const staticIpam: Plugin = {
  type: 'static',
  versions: cniVersions,

  validate: parse,

  async add(call) {
    const { addresses, routes, dns } = parse(call);
    const ips = addresses.map(({ address, gateway }) => ({
      address: formatPrefix(address),
      ...(gateway !== undefined && { gateway: formatIP(gateway) }),
    }));
    return { interfaces: [], ips, routes, dns };
  },

  async delete() {},

  async check(call) {
    const { addresses } = parse(call);
    const { prevResult, attachment } = call;
    if (prevResult === undefined) throw new CniError(ErrorCode.InvalidNetworkConfig, 'Required prevResult missing');
    for (const { address, gateway } of addresses) {
      const given = prevResult.ips.filter((ip) => equalIP(parsePrefix(ip.address).ip, address.ip));
      const isAsGiven = given.some((ip) => gateway === undefined || ip.gateway === formatIP(gateway));
      if (isAsGiven) continue;
      const text = `${formatIP(address.ip)}${gateway === undefined ? '' : ` with gateway ${formatIP(gateway)}`}`;
      throw new CniError(
        ErrorCode.Internal,
        `static: Failed to match addr ${text} on interface ${attachment.ifName}`,
        `the result has ${given.map((ip) => `${ip.address}, gateway ${ip.gateway ?? 'none'}`).join('; ') || 'no such address'}`,
      );
    }
  },
};

/** The addresses are those of runtimeConfig, or of args, or the configuration's and those of CNI_ARGS. */
function parse({ config, attachment }: ConfigCall) {
  const { ipam, args, runtimeConfig } = parsePluginConfig(schema, config);
  const configured: readonly StaticAddress[] = [
    ...ipam.addresses.map(({ address, gateway }) => ({ address, gateway })),
    ...addressesOf(attachment.args),
  ];
  const replacement = [runtimeConfig?.ips, args?.cni?.ips].find((ips) => ips !== undefined && ips.length > 0);
  const addresses = replacement?.map((address) => ({ address, gateway: undefined })) ?? configured;
  const perFamily = [4, 6].map((family) => addresses.filter(({ address }) => address.ip.family === family).length);
  if (Math.max(...perFamily) > 1 && compareVersions(config.cniVersion, '0.3.0') < 0) {
    throw invalid(`CNI version ${config.cniVersion} does not support more than 1 address per family`);
  }
  return { addresses, routes: ipam.routes, dns: ipam.dns };
}

/** IP and GATEWAY of CNI_ARGS: lists separated by commas. A gateway is that of the addresses whose network it is in. */
function addressesOf(args: CniArgs): StaticAddress[] {
  requireKnownArgs(args, ['IP', 'GATEWAY']);
  const gateways = items(args.get('GATEWAY')).map((text) =>
    parseOr(`invalid gateway address: ${text}`, () => parseIP(text)),
  );
  return items(args.get('IP')).map((text) => {
    const address = parseOr(`invalid CIDR ${text}: invalid CIDR address: ${text}`, () => parsePrefix(text));
    return { address, gateway: gateways.findLast((gateway) => contains(address, gateway)) };
  });
}

const items = (list: string | undefined): string[] => (list ? list.split(',').map((item) => item.trim()) : []);

function parseOr<T>(problem: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw invalid(`CNI_ARGS: ${problem}`);
  }
}

const invalid = (message: string): CniError => new CniError(ErrorCode.Internal, message);
