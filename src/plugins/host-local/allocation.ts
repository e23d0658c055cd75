import { equalIP, formatIP, formatPrefix, fromBigInt, type IP } from '../../net/ip.ts';
import { addressesAfter, formatRangeSet, type Range, type RangeSet, rangeFor, sizeOf } from './range.ts';
import { describeOwner, type Reservations } from './reservations.ts';

/** One address chosen for an ADD. */
export interface Allocation {
  readonly ip: IP;
  readonly range: Range;
  /** The range set's place in the configuration. */
  readonly set: number;
}

export interface AllocationRequest {
  readonly network: string;
  readonly containerId: string;
  readonly ifName: string;
  readonly sets: readonly RangeSet[];
  /** Addresses that were asked for; each must be of a set of its own. */
  readonly requested: readonly IP[];
}

/**
 * Chooses one address from each range set: the requested one, or the next one after the set's last that nobody holds.
 *
 * Nothing is reserved here, so that a failure in one set leaves nothing behind in another.
 *
 * @param lastOf The address that a set gave away last.
 * @throws {Error} in the words of the original, with more about who holds what.
 */
export function allocate(
  request: AllocationRequest,
  reservations: Reservations,
  lastOf: (set: number) => IP | undefined,
): Allocation[] {
  const requested = distinct(request.requested);
  const allocations = request.sets.map((ranges, set) => {
    const at = requested.findIndex((ip) => rangeFor(ranges, ip) !== undefined);
    const [wanted] = at < 0 ? [] : requested.splice(at, 1);
    try {
      const chosen =
        wanted === undefined
          ? chooseNext(request, ranges, reservations, lastOf(set))
          : chooseRequested(ranges, wanted, reservations);
      return { ...chosen, set };
    } catch (thrown) {
      const problem = thrown instanceof Error ? thrown.message : String(thrown);
      throw new Error(`failed to allocate for range ${set}: ${problem}`, { cause: thrown });
    }
  });
  if (requested.length > 0) {
    const sets = request.sets.map(formatRangeSet).join(' and ');
    throw new Error(
      `failed to allocate all requested IPs: ${requested.map(formatIP).join(' ')} ` +
        `(network "${request.network}" gives one address from each range set: ${sets})`,
    );
  }
  return allocations;
}

/** The address and prefix that the pod's interface gets. */
export function formatAllocation({ ip, range }: Allocation): string {
  return formatPrefix({ ip, length: range.subnet.length });
}

function chooseRequested(set: RangeSet, ip: IP, reservations: Reservations): { ip: IP; range: Range } {
  const range = rangeFor(set, ip);
  if (range === undefined) throw new Error(`${formatIP(ip)} not in range set ${formatRangeSet(set)}`);
  if (equalIP(ip, range.gateway)) throw new Error(`requested ip ${formatIP(ip)} is subnet's gateway`);
  const held = reservations.at(ip);
  if (held !== undefined) {
    throw new Error(
      `requested IP address ${formatIP(ip)} is not available in range set ${formatRangeSet(set)}: ` +
        `reserved by ${describeOwner(held.owner)}`,
    );
  }
  return { ip, range };
}

function chooseNext(
  { network, containerId, ifName }: AllocationRequest,
  set: RangeSet,
  reservations: Reservations,
  last: IP | undefined,
): { ip: IP; range: Range } {
  const held = reservations.of(containerId, ifName).find(({ ip }) => rangeFor(set, ip) !== undefined);
  if (held !== undefined) {
    throw new Error(
      `${formatIP(held.ip)} has been allocated to ${containerId}, duplicate allocation is not allowed ` +
        `(interface ${ifName} of network "${network}")`,
    );
  }
  // Counting first keeps a full network from walking its whole range for every pod that is tried again.
  const size = sizeOf(set);
  const used = reservations.countIn(set);
  if (BigInt(used) < size) {
    for (const { value, range } of addressesAfter(set, last)) {
      const { family } = range.start;
      if (!reservations.has(family, value)) return { ip: fromBigInt(family, value), range };
    }
  }
  throw new Error(
    `no IP addresses available in range set: ${formatRangeSet(set)} of network "${network}": ${used} of ${size} in use`,
  );
}

function distinct(ips: readonly IP[]): IP[] {
  return ips.filter((ip, index) => ips.findIndex((other) => equalIP(ip, other)) === index);
}
