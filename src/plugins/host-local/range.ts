import {
  contains,
  equalIP,
  formatIP,
  formatPrefix,
  fromBigInt,
  type IP,
  lastOf,
  networkOf,
  type Prefix,
  toBigInt,
} from '../../net/ip.ts';

/** Addresses to give away, in the order of the numbers. `start` and `end` are both inclusive. */
export interface Range {
  readonly subnet: Prefix;
  readonly start: IP;
  readonly end: IP;
  /** Never given away, whether it lies in the range or not. */
  readonly gateway: IP;
}

/** Ranges of one family that do not overlap. An ADD gets one address from each set. */
export type RangeSet = readonly [Range, ...Range[]];

/** A range as a configuration gives it. */
export interface RangeConfig {
  readonly subnet: Prefix;
  readonly rangeStart?: IP | undefined;
  readonly rangeEnd?: IP | undefined;
  readonly gateway?: IP | undefined;
}

/**
 * Fills in what is missing: the gateway is the subnet's first address, the range begins there and ends with its last
 * one, for IPv4 with the one before the broadcast address.
 *
 * @throws {Error} in the words of the original, when the subnet is too small, has host bits or the range leaves it.
 */
export function rangeOf({ subnet, rangeStart, rangeEnd, gateway }: RangeConfig): Range {
  const { ip, length } = subnet;
  const bits = ip.bytes.length * 8;
  if (length > bits - 2) throw new Error(`Network ${formatPrefix(subnet)} too small to allocate from`);
  const network = networkOf(subnet);
  if (!equalIP(network, ip)) {
    throw new Error(
      `Network has host bits set. For a subnet mask of length ${length} the network address is ${formatIP(network)}`,
    );
  }

  const first = plus(network, 1n);
  const last = ip.family === 4 ? plus(lastOf(subnet), -1n) : lastOf(subnet);
  if (rangeStart !== undefined && !contains(subnet, rangeStart)) {
    throw new Error(`RangeStart ${formatIP(rangeStart)} not in network ${formatPrefix(subnet)}`);
  }
  const start = rangeStart ?? first;
  if (rangeEnd !== undefined && !contains(subnet, rangeEnd)) {
    throw new Error(`RangeEnd ${formatIP(rangeEnd)} not in network ${formatPrefix(subnet)}`);
  }
  const end = rangeEnd ?? last;
  if (toBigInt(end) < toBigInt(start)) {
    throw new Error(
      `RangeEnd ${formatIP(end)} not in network ${formatPrefix(subnet)}: it is before RangeStart ${formatIP(start)}`,
    );
  }
  return { subnet, start, end, gateway: gateway ?? first };
}

/**
 * Makes a set of ranges.
 *
 * @throws {Error} in the words of the original, when it is empty, a range is wrong, families are mixed or two overlap.
 */
export function rangeSetOf(configs: readonly RangeConfig[]): RangeSet {
  const [first, ...others] = configs.map(rangeOf);
  if (first === undefined) throw new Error('empty range set');
  const set: [Range, ...Range[]] = [first];
  for (const range of others) {
    if (range.start.family !== first.start.family) throw new Error('mixed address families');
    const other = set.find((each) => rangesOverlap(each, range));
    if (other !== undefined) throw new Error(`subnets ${formatRange(other)} and ${formatRange(range)} overlap`);
    set.push(range);
  }
  return set;
}

export function setsOverlap(a: RangeSet, b: RangeSet): boolean {
  return a.some((range) => b.some((other) => rangesOverlap(range, other)));
}

function rangesOverlap(a: Range, b: Range): boolean {
  return isInRange(a, b.start) || isInRange(b, a.start);
}

export function isInRange(range: Range, ip: IP): boolean {
  if (ip.family !== range.start.family) return false;
  const value = toBigInt(ip);
  return toBigInt(range.start) <= value && value <= toBigInt(range.end);
}

/** The range of a set that holds the address. */
export function rangeFor(set: RangeSet, ip: IP): Range | undefined {
  return set.find((range) => isInRange(range, ip));
}

/** How many addresses a set can give away at all. */
export function sizeOf(set: RangeSet): bigint {
  return set.reduce((sum, range) => {
    const span = toBigInt(range.end) - toBigInt(range.start) + 1n;
    return sum + span - (isInRange(range, range.gateway) ? 1n : 0n);
  }, 0n);
}

/** An address of a range, as a number: a range is walked far faster so. */
export interface Candidate {
  readonly value: bigint;
  readonly range: Range;
}

/**
 * Every address of a set once, with its range: first the one after `last`, then on through the ranges and around, `last`
 * itself at the end. Where `last` is unknown or in no range, from the start of the first one. Gateways are left out.
 */
export function* addressesAfter(set: RangeSet, last: IP | undefined): Generator<Candidate> {
  const at = last === undefined ? -1 : set.findIndex((range) => isInRange(range, last));
  const range = set[at];
  if (last === undefined || range === undefined) {
    for (const each of set) yield* addressesOf(each, toBigInt(each.start), toBigInt(each.end));
    return;
  }
  yield* addressesOf(range, toBigInt(last) + 1n, toBigInt(range.end));
  for (const each of [...set.slice(at + 1), ...set.slice(0, at)]) {
    yield* addressesOf(each, toBigInt(each.start), toBigInt(each.end));
  }
  yield* addressesOf(range, toBigInt(range.start), toBigInt(last));
}

function* addressesOf(range: Range, first: bigint, last: bigint): Generator<Candidate> {
  const gateway = isInRange(range, range.gateway) ? toBigInt(range.gateway) : undefined;
  for (let value = first; value <= last; value++) {
    if (value !== gateway) yield { value, range };
  }
}

/** `10.0.0.2-10.0.0.6`, as the original's messages have it. */
export function formatRange(range: Range): string {
  return `${formatIP(range.start)}-${formatIP(range.end)}`;
}

export function formatRangeSet(set: RangeSet): string {
  return set.map(formatRange).join(',');
}

function plus(ip: IP, distance: bigint): IP {
  return fromBigInt(ip.family, toBigInt(ip) + distance);
}
