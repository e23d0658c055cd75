import { isIPv6 } from 'node:net';
import { z } from 'zod';
import type { Result } from '../../../cni/result.ts';
import { equalIP, formatIP, formatPrefix, hostPrefix, type IP, parsePrefix } from '../../../net/ip.ts';
import { mostNames, namesIn } from '../v4/lease.ts';
import {
  type Association,
  type AssociationAddress,
  associationIn,
  type Message,
  Option,
  type Options,
  optionOf,
  type Status,
  StatusCode,
  statusIn,
} from './message.ts';

/** Each interface is a client of its own, with one identity association. */
export const associationId = 1;

/** What a lease is kept as. Addresses are texts; times are the clock's, in milliseconds. */
export const leaseSchema = z.object({
  /** With its prefix's length, 128: what else is on the link, routers say. */
  address: z.string().transform((text) => formatPrefix(parsePrefix(text))),
  dns: z.object({
    nameservers: z.array(z.string().refine(isIPv6)).optional(),
    search: z.array(z.string()).optional(),
  }),
  /** DUID of whom to ask for more time, in hexadecimal digits. */
  server: z.string().regex(/^([0-9a-f]{2}){1,130}$/),
  renewAt: z.number(),
  rebindAt: z.number(),
  expiresAt: z.number(),
});

/** An address for a time, and what goes with it. */
export type Lease = z.output<typeof leaseSchema>;

/** A lease that does not end (RFC 8415, section 7.7); it is far enough away, and a number that JSON knows. */
const endless = 0xffffffff;

/** Parts of the time that an address is preferred for, where the server leaves it to the client (section 21.4). */
const renewal = 0.5;
const rebinding = 0.8;

/** Why a message grants no address. */
export interface Refusal {
  readonly code: number | undefined;
  /** The address that was held is not to be used any more. */
  readonly isWithdrawn: boolean;
  readonly text: string;
}

/**
 * The lease that a message grants or offers.
 *
 * @param server DUID of who sent it.
 * @param asked When it was asked for: its time runs from then.
 * @param previous The lease that this one prolongs, whose address goes before others.
 */
export function leaseOf(
  { options }: Message,
  server: Uint8Array,
  asked: number,
  previous?: Lease,
): { readonly lease: Lease } | { readonly refusal: Refusal } {
  const association = associationIn(options, associationId);
  const status = [statusIn(options), association?.status].find((each) => each && each.code !== StatusCode.success);
  const held = previous && parsePrefix(previous.address).ip;
  const isHeld = ({ bytes }: AssociationAddress): boolean => held !== undefined && equalIP({ family: 6, bytes }, held);
  // Section 18.2.10.1: that there is no other one may be said along with it.
  const isWithdrawn = association?.addresses.some((each) => isHeld(each) && each.valid === 0) ?? false;
  if (status !== undefined) return { refusal: { code: status.code, isWithdrawn, text: wordsOf(status) } };
  if (association === undefined) return none('it answers without an address');
  const { renewAfter, rebindAfter, addresses } = association;
  if (renewAfter > rebindAfter && rebindAfter > 0) return none('it wants to be asked again too late');
  const usable = addresses.filter(isUsable);
  const granted = usable.find(isHeld) ?? usable[0];
  if (granted === undefined) {
    return { refusal: { code: undefined, isWithdrawn, text: 'it grants no address that a host can have' } };
  }
  const times = timesOf(association, granted);
  const at = (seconds: number): number => (seconds >= endless ? Number.MAX_SAFE_INTEGER : asked + seconds * 1000);
  return {
    lease: {
      address: formatPrefix(hostPrefix({ family: 6, bytes: granted.bytes })),
      dns: dnsIn(options),
      server: Buffer.from(server).toString('hex'),
      renewAt: at(times.renewAfter),
      rebindAt: at(times.rebindAfter),
      expiresAt: at(granted.valid),
    },
  };
}

export const resultOfLease = ({ address, dns }: Lease, gateway: IP | undefined): Result => ({
  interfaces: [],
  ips: [{ address, ...(gateway !== undefined && { gateway: formatIP(gateway) }) }],
  routes: [],
  dns,
});

/** Seconds; none is later than what comes after it. */
function timesOf({ renewAfter, rebindAfter }: Association, { preferred, valid }: AssociationAddress) {
  const base = preferred > 0 ? preferred : valid;
  // A part of what does not end does not end either.
  const part = (share: number): number => (base >= endless ? endless : base * share);
  const rebind = Math.min(rebindAfter > 0 ? rebindAfter : Math.max(part(rebinding), renewAfter), valid);
  return { rebindAfter: rebind, renewAfter: Math.min(renewAfter > 0 ? renewAfter : part(renewal), rebind) };
}

/** Section 21.6: what is preferred for longer than it is valid is passed over. */
function isUsable({ bytes, preferred, valid }: AssociationAddress): boolean {
  return valid > 0 && preferred <= valid && isHostAddress(bytes);
}

/** Whether a host can have it beyond its link: none of ::/8, where loopback and forms of IPv4 are, fe80::/10 and ff00::/8. */
function isHostAddress([first = 0, second = 0]: Uint8Array): boolean {
  return first !== 0 && first !== 0xff && !(first === 0xfe && (second & 0xc0) === 0x80);
}

/** What a status means, in words; what the server says follows. */
const meanings: ReadonlyMap<number, string> = new Map([
  [StatusCode.unspecified, 'it refuses'],
  [StatusCode.noAddresses, 'it has no address left'],
  [StatusCode.noBinding, 'it knows nothing of the lease'],
  [StatusCode.notOnLink, 'the address is of another link'],
  [StatusCode.useMulticast, 'it wants to be asked by multicast'],
]);

function wordsOf({ code, text }: Status): string {
  const meaning = meanings.get(code) ?? `it refuses with status ${code}`;
  return text === '' ? meaning : `${meaning} (${text})`;
}

const none = (text: string): { readonly refusal: Refusal } => ({
  refusal: { code: undefined, isWithdrawn: false, text },
});

function dnsIn(options: Options): Lease['dns'] {
  const servers = Buffer.from(optionOf(options, Option.nameServers) ?? []);
  const count = Math.min(Math.floor(servers.length / 16), mostNames);
  const each = Array.from({ length: count }, (_, i) => Uint8Array.from(servers.subarray(16 * i, 16 * i + 16)));
  const nameservers = each.filter(isHostAddress).map((bytes) => formatIP({ family: 6, bytes }));
  const search = namesIn(optionOf(options, Option.domainList));
  return { ...(nameservers.length > 0 && { nameservers }), ...(search.length > 0 && { search }) };
}
