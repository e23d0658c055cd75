import { z } from 'zod';
import type { CniArgs } from '../../cni/args.ts';
import { CniError, ErrorCode } from '../../cni/error.ts';
import type { PluginCall } from '../../cni/plugin.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { Option, type Options } from './v4/message.ts';

/** Names of options, which are dhcp-options(5)'s. */
const optionNames: ReadonlyMap<string, number> = new Map([
  ['dhcp-client-identifier', Option.clientIdentifier],
  ['subnet-mask', Option.subnetMask],
  ['routers', Option.router],
  ['host-name', Option.hostName],
  ['user-class', Option.userClass],
  ['vendor-class-identifier', Option.vendorClassIdentifier],
]);

/** What no option can be, and what the client says itself in every message. */
const noOptions: ReadonlySet<number> = new Set([Option.pad, Option.end]);
const ownOptions: ReadonlySet<number> = new Set([
  Option.requestedAddress,
  Option.overload,
  Option.messageType,
  Option.serverIdentifier,
  Option.parameterRequestList,
]);

const longestValue = 255;
/** The client identifier's option less its type. */
const longestName = 254;
/** Type 0: the identifier is no hardware address (RFC 2132, section 9.14). */
const identifierType = 0;
/** What the client can take in one packet, as the containernetworking plugin says it. */
const largestMessage = 1500;

const option = z.string('expected the name or the number of a DHCP option, as text').default('');
const mostOptions = 100;

const schema = z.object({
  ipam: z.object({
    /** Of the containernetworking plugin's daemon, which there is no need for. */
    daemonSocketPath: z.string().optional(),
    provide: z
      .array(z.object({ option, value: z.string().default(''), fromArg: z.string().default('') }))
      .max(mostOptions)
      .default([]),
    request: z
      .array(z.object({ option, skipDefault: z.boolean().default(false) }))
      .max(mostOptions)
      .default([]),
    ipv4: z.boolean().default(true),
    ipv6: z.enum(['', 'slaac', 'dhcpv6'], 'expected "slaac" or "dhcpv6"').default(''),
  }),
});

export interface DhcpConfig {
  /** What every message to the server says. */
  readonly options: Options;
  readonly ipv4: boolean;
  /** How addresses of IPv6 are had; empty: not at all. */
  readonly ipv6: z.output<typeof schema>['ipam']['ipv6'];
}

/** @throws {CniError} 7 */
export function parseDhcpConfig({ config, attachment }: Pick<PluginCall, 'config' | 'attachment'>): DhcpConfig {
  const { ipam } = parsePluginConfig(schema, config);
  if (!ipam.ipv4 && ipam.ipv6 === '') {
    throw invalid(`network "${config.name}": ipam.ipv4: expected true where there is no ipam.ipv6, found false`);
  }
  const identifier = clientIdentifier(config.name, attachment.containerId, attachment.ifName);
  const size = Buffer.alloc(2);
  size.writeUInt16BE(largestMessage);
  const options = new Map<number, Uint8Array>([
    [Option.clientIdentifier, identifier],
    [Option.maximumMessageSize, size],
    [Option.parameterRequestList, requested(ipam.request)],
    ...provided(ipam.provide, attachment.args),
  ]);
  return { options, ipv4: ipam.ipv4, ipv6: ipam.ipv6 };
}

/** Whom the server knows the lease by: the container's interface in the network, cut where an option ends. */
export function clientIdentifier(network: string, containerId: string, ifName: string): Uint8Array {
  const name = Buffer.from(`${containerId}/${network}/${ifName}`).subarray(0, longestName);
  return Uint8Array.of(identifierType, ...name);
}

type Provided = z.output<typeof schema>['ipam']['provide'];
type Requested = z.output<typeof schema>['ipam']['request'];

/** What CNI_ARGS say goes before what is written in the configuration. */
function provided(list: Provided, args: CniArgs): [code: number, value: Uint8Array][] {
  return list.flatMap(({ option, value, fromArg }, index): [number, Uint8Array][] => {
    const place = `ipam.provide[${index}]`;
    const code = codeOf(option, place);
    if (ownOptions.has(code)) {
      throw invalid(`${place}.option: Can not parse option "${option}": the client has its own value for it`);
    }
    const text = args.get(fromArg) ?? value;
    const bytes = Buffer.from(text);
    if (bytes.length > longestValue) {
      const source = args.has(fromArg) ? ` from CNI_ARGS "${fromArg}"` : '';
      throw invalid(
        `${place}: value too long for option "${option}"${source}: ${bytes.length} bytes, at most ${longestValue} are possible`,
      );
    }
    return text === '' ? [] : [[code, bytes]];
  });
}

/** The codes asked for, in order and once each: those of the configuration, then router and mask unless told not to. */
function requested(list: Requested): Uint8Array {
  const codes = list.flatMap(({ option }, index) => (option === '' ? [] : [codeOf(option, `ipam.request[${index}]`)]));
  const usual = list.some(({ skipDefault }) => skipDefault) ? [] : [Option.router, Option.subnetMask];
  const all = [...codes, ...usual];
  // A client that asks for nothing is given what the server likes; the containernetworking plugin asks for this then.
  const asked = all.length > 0 ? all : [Option.subnetMask, Option.router, Option.domainName, Option.domainNameServer];
  return Uint8Array.from(new Set(asked));
}

function codeOf(option: string, place: string): number {
  const code = optionNames.get(option) ?? (/^\d{1,3}$/.test(option) ? Number(option) : Number.NaN);
  if (code <= 255 && !noOptions.has(code)) return code;
  const names = [...optionNames.keys()].join(', ');
  throw invalid(
    `${place}.option: Can not parse option "${option}": expected a number from 1 to 254, or one of ${names}`,
  );
}

const invalid = (message: string): CniError => new CniError(ErrorCode.InvalidNetworkConfig, message);
