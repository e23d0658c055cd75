import { isIPv4 } from 'node:net';
import { z } from 'zod';
import type { Result, ResultDNS, ResultRoute } from '../../../cni/result.ts';
import { Scope } from '../../../linux/route.ts';
import { formatIP, formatPrefix, type IP, networkOf, parseIP, parsePrefix } from '../../../net/ip.ts';
import { type LeaseRoute, routeSchema } from '../records.ts';
import { isHostAddress } from './datagram.ts';
import { type Message, Option, type Options } from './message.ts';

const address = z.string().refine(isIPv4);

/** What a lease is kept as. Addresses are texts; times are the clock's, in milliseconds. */
export const leaseSchema = z.object({
  /** With its prefix's length. */
  address: z.string().transform((text) => formatPrefix(parsePrefix(text))),
  gateway: address.optional(),
  routes: z.array(routeSchema),
  dns: z.object({
    nameservers: z.array(z.string()).optional(),
    domain: z.string().optional(),
    search: z.array(z.string()).optional(),
  }),
  /** Whom to ask for more time, and the hardware address that its answer came from. */
  server: address,
  serverMac: z.string(),
  renewAt: z.number(),
  rebindAt: z.number(),
  expiresAt: z.number(),
});

/** An address for a time, and what goes with it. */
export type Lease = z.output<typeof leaseSchema>;

/** Where the server does not say how long (RFC 2131 wants it to): as the containernetworking plugin. */
const usualSeconds = 3600;
/** A lease that does not end; it is far enough away, and a number that JSON knows. */
const endless = 0xffffffff;

/** Parts of a lease's time until it is to be renewed, and rebound (RFC 2131, section 4.4.5). */
const renewal = 0.5;
const rebinding = 0.85;

/**
 * The lease that a server granted.
 *
 * @param now When it was asked for: its time runs from then (RFC 2131, section 4.4.1).
 * @param previous The lease that this one prolongs.
 * @returns A text that says what is wrong with it, where it is none.
 */
export function leaseOf(ack: Message, serverMac: string, now: number, previous?: Lease): Lease | string {
  const { options } = ack;
  const ip = addressIn(ack.yourAddress);
  if (!isHostAddress(ip)) return `the server granted ${formatIP(ip)}, which no host can have`;
  const mask = options.get(Option.subnetMask);
  const length = mask === undefined ? previous && parsePrefix(previous.address).length : prefixLength(mask);
  if (length === undefined) return 'DHCP option Subnet Mask not found in DHCPACK';
  const [server] = addressesIn(options.get(Option.serverIdentifier));
  const [gateway] = addressesIn(options.get(Option.router));

  const seconds = numberIn(options.get(Option.leaseTime)) ?? usualSeconds;
  const rebindAfter = within(seconds, numberIn(options.get(Option.rebindingTime)), rebinding * seconds);
  const renewAfter = within(rebindAfter, numberIn(options.get(Option.renewalTime)), renewal * seconds);
  const at = (after: number): number => (seconds === endless ? Number.MAX_SAFE_INTEGER : now + after * 1000);
  return {
    address: formatPrefix({ ip, length }),
    gateway: gateway && formatIP(gateway),
    routes: routesIn(options, gateway),
    dns: dnsIn(options),
    server: server === undefined ? (previous?.server ?? '0.0.0.0') : formatIP(server),
    serverMac,
    renewAt: at(renewAfter),
    rebindAt: at(rebindAfter),
    expiresAt: at(seconds),
  };
}

/** A time that the server told, where it makes sense: before what comes after it. */
function within(limit: number, told: number | undefined, usual: number): number {
  return told !== undefined && told > 0 && told <= limit ? told : Math.min(usual, limit);
}

/** What the plugin answers: the address and its gateway, the routes, and name servers where they were asked for. */
export function resultOfLease({ address, gateway, routes, dns }: Lease): Result {
  return { interfaces: [], ips: [{ address, gateway }], routes, dns };
}

/** Classless routes count alone where there are some (RFC 3442), else static ones and the router. */
function routesIn(options: Options, gateway: IP | undefined): LeaseRoute[] {
  const classless = classlessRoutes(options.get(Option.classlessStaticRoute));
  if (classless.length > 0) return classless;
  const router = gateway === undefined ? [] : [{ dst: '0.0.0.0/0', gw: formatIP(gateway) }];
  return [...staticRoutes(options.get(Option.staticRoute)), ...router];
}

/** As many as a configuration may have; what is longer is no list that anybody wrote. */
const mostRoutes = 1000;
export const mostNames = 64;

/** RFC 3442: the length of a prefix, as many bytes of it as that takes, and the router; 0.0.0.0 is none, but the link. */
function classlessRoutes(value: Uint8Array = new Uint8Array()): LeaseRoute[] {
  const found: LeaseRoute[] = [];
  for (let offset = 0; offset < value.length; ) {
    const length = value[offset] ?? 0;
    const significant = Math.ceil(length / 8);
    const end = offset + 1 + significant + 4;
    if (length > 32 || end > value.length || found.length >= mostRoutes) return [];
    const bytes = new Uint8Array(4);
    bytes.set(value.subarray(offset + 1, offset + 1 + significant));
    const destination = { ip: { family: 4, bytes }, length } as const;
    const gw = formatIP(addressIn(value.subarray(end - 4, end)));
    const dst = formatPrefix({ ip: networkOf(destination), length });
    found.push({ dst, gw, ...(gw === '0.0.0.0' && { scope: Scope.link }) });
    offset = end;
  }
  return found;
}

/** Pairs of a destination and its router (RFC 2132, section 5.8): a network of its class or, with host bits, one host. */
function staticRoutes(value: Uint8Array = new Uint8Array()): ResultRouteThroughGateway[] {
  const found: ResultRouteThroughGateway[] = [];
  for (let offset = 0; offset + 8 <= Math.min(value.length, mostRoutes * 8); offset += 8) {
    const ip = addressIn(value.subarray(offset, offset + 4));
    if (!isHostAddress(ip)) continue;
    const classful = { ip, length: classLength(ip) };
    const network = formatIP(networkOf(classful));
    const dst = network === formatIP(ip) ? formatPrefix(classful) : `${formatIP(ip)}/32`;
    found.push({ dst, gw: formatIP(addressIn(value.subarray(offset + 4, offset + 8))) });
  }
  return found;
}

type ResultRouteThroughGateway = Pick<ResultRoute, 'dst'> & { readonly gw: string };

function classLength({ bytes: [first = 0] }: IP): number {
  if (first < 128) return 8;
  return first < 192 ? 16 : 24;
}

function dnsIn(options: Options): { nameservers?: string[]; domain?: string; search?: string[] } & ResultDNS {
  const nameservers = addressesIn(options.get(Option.domainNameServer)).slice(0, mostNames).map(formatIP);
  const domain = textIn(options.get(Option.domainName));
  const search = namesIn(options.get(Option.domainSearch));
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
  };
}

const domainName = /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*\.?$/;

/** A domain's name: it ends up in the pod's resolv.conf, so nothing else will do. */
function textIn(value: Uint8Array | undefined): string | undefined {
  const text = Buffer.from(value ?? [])
    .toString('latin1')
    .replace(/\0+$/, '');
  return domainName.test(text) ? text : undefined;
}

/** RFC 3397: names of RFC 1035, whose tails may be pointers back into the option. */
export function namesIn(value: Uint8Array = new Uint8Array()): string[] {
  const names: string[] = [];
  for (let offset = 0; offset < value.length && names.length < mostNames; ) {
    const labels: string[] = [];
    let end: number | undefined;
    for (let at = offset; ; ) {
      const length = value[at];
      if (length === undefined) return names;
      if (length >= 0xc0) {
        const target = ((length & 0x3f) << 8) | (value[at + 1] ?? 0);
        end ??= at + 2;
        // Backwards only: what points at itself would never end.
        if (target >= at) return names;
        at = target;
      } else {
        if (length === 0) {
          end ??= at + 1;
          break;
        }
        labels.push(Buffer.from(value.subarray(at + 1, at + 1 + length)).toString('latin1'));
        at += 1 + length;
      }
      if (labels.length > 127) return names;
    }
    const name = labels.join('.');
    if (domainName.test(name)) names.push(name);
    offset = end;
  }
  return names;
}

/** A mask's length; undefined when it has holes. */
function prefixLength(mask: Uint8Array): number | undefined {
  const bits = [...mask].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(bits) && bits.length === 32 ? bits.replace(/0+$/, '').length : undefined;
}

const addressIn = (bytes: Uint8Array): IP => ({ family: 4, bytes: Uint8Array.from(bytes) });

/** Addresses that a host can have; what is left of one is passed over. */
function addressesIn(value: Uint8Array = new Uint8Array()): IP[] {
  const count = Math.floor(value.length / 4);
  return Array.from({ length: count }, (_, i) => addressIn(value.subarray(4 * i, 4 * i + 4))).filter(isHostAddress);
}

const numberIn = (value: Uint8Array | undefined): number | undefined =>
  value?.length === 4 ? Buffer.from(value).readUInt32BE() : undefined;

/** The four bytes of an address. */
export const bytesOf = (text: string): Uint8Array => parseIP(text).bytes;
