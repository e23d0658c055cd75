import { isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** An IPv4 or IPv6 address. `bytes` is in network order, 4 or 16 long. */
export interface IP {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
}

/** An address with the length of its network's prefix, as in `10.0.0.2/24`. Host bits may be set. */
export interface Prefix {
  readonly ip: IP;
  readonly length: number;
}

const bitsOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/**
 * Reads one address. IPv4 must be four decimal parts: the octal, hexadecimal and shortened forms that some C libraries
 * take are refused, because two programs that read them differently would disagree on who owns an address. For the same
 * reason IPv4 in IPv6's form (`::ffff:10.0.0.1`) is: to Go it is IPv4, to the kernel IPv6.
 *
 * @throws {Error} naming the text when it is no address.
 */
export function parseIP(text: string): IP {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    return { family: 4, bytes: Uint8Array.from(ipaddr.IPv4.parse(text).octets) };
  }
  // Both must agree on it: one takes a zone, the other leading zeros of the last four bytes in decimal.
  if (!text.includes('%') && isIPv6(text) && ipaddr.IPv6.isValid(text)) {
    const address = ipaddr.IPv6.parse(text);
    if (!address.isIPv4MappedAddress()) return { family: 6, bytes: Uint8Array.from(address.toByteArray()) };
    throw new Error(`"${text}" is an IPv4 address in the form of IPv6: write ${address.toIPv4Address()}`);
  }
  throw new Error(`"${text}" is not an IP address`);
}

/** The canonical text of an address: RFC 5952 for IPv6, dotted decimal for IPv4. */
export function formatIP(ip: IP): string {
  const address = ipaddr.fromByteArray([...ip.bytes]);
  return address instanceof ipaddr.IPv6 ? address.toRFC5952String() : address.toString();
}

/**
 * Reads `address/length`.
 *
 * @throws {Error} naming the text when it is none.
 */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf('/');
  const digits = text.slice(slash + 1);
  if (slash < 0 || !/^(0|[1-9]\d{0,2})$/.test(digits)) {
    throw new Error(`"${text}" is not an address with a prefix length, such as 10.0.0.2/24`);
  }
  const ip = parseIP(text.slice(0, slash));
  const length = Number(digits);
  if (length > bitsOf(ip.family)) {
    throw new Error(`"${text}": a prefix of IPv${ip.family} is at most ${bitsOf(ip.family)} long`);
  }
  return { ip, length };
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatIP(prefix.ip)}/${prefix.length}`;
}

/** The address as a number, for ranges and their arithmetic. */
export function toBigInt(ip: IP): bigint {
  let value = 0n;
  for (const byte of ip.bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/**
 * The address of a number.
 *
 * @throws {RangeError} when the family has no such address.
 */
export function fromBigInt(family: 4 | 6, value: bigint): IP {
  if (value < 0n || value >> BigInt(bitsOf(family)) !== 0n) throw new RangeError(`no IPv${family} address ${value}`);
  const bytes = new Uint8Array(bitsOf(family) / 8);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return { family, bytes };
}

const hostMask = (prefix: Prefix): bigint => (1n << BigInt(bitsOf(prefix.ip.family) - prefix.length)) - 1n;

/** The first address of the prefix: its host bits cleared. */
export function networkOf(prefix: Prefix): IP {
  return fromBigInt(prefix.ip.family, toBigInt(prefix.ip) & ~hostMask(prefix));
}

/** The last address of the prefix: its host bits set. For IPv4 up to /30, the broadcast address. */
export function lastOf(prefix: Prefix): IP {
  return fromBigInt(prefix.ip.family, toBigInt(prefix.ip) | hostMask(prefix));
}

export function contains(prefix: Prefix, ip: IP): boolean {
  return ip.family === prefix.ip.family && (toBigInt(ip) & ~hostMask(prefix)) === toBigInt(networkOf(prefix));
}

export function equalIP(a: IP, b: IP): boolean {
  return a.family === b.family && toBigInt(a) === toBigInt(b);
}

/** A prefix that holds one address only: /32 or /128. */
export function hostPrefix(ip: IP): Prefix {
  return { ip, length: bitsOf(ip.family) };
}
