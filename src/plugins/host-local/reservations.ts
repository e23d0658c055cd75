import { type IP, toBigInt } from '../../net/ip.ts';
import type { Range, RangeSet } from './range.ts';

/** One address that is given away: one file of the network's directory, named like the address. */
export interface Reservation {
  readonly ip: IP;
  /** The file's content: {@link ownerOf}, or the container's id alone where a version before 0.8 wrote it. */
  readonly owner: string;
}

/** The file's content that names who holds an address. */
export function ownerOf(containerId: string, ifName: string): string {
  return `${containerId.trim()}\r\n${ifName}`;
}

/** The container's id of a file's content. */
export function containerIdOf(owner: string): string {
  return owner.split('\r\n', 1)[0] ?? owner;
}

/** `container c1, interface net1`, for messages. */
export function describeOwner(owner: string): string {
  const [containerId, ifName] = owner.split('\r\n');
  return ifName === undefined ? `container ${containerId}` : `container ${containerId}, interface ${ifName}`;
}

/** The addresses of one network that are given away. */
export class Reservations {
  readonly #byAddress = { 4: new Map<bigint, Reservation>(), 6: new Map<bigint, Reservation>() } as const;

  get size(): number {
    return this.#byAddress[4].size + this.#byAddress[6].size;
  }

  add(reservation: Reservation): void {
    this.#byAddress[reservation.ip.family].set(toBigInt(reservation.ip), reservation);
  }

  delete(ip: IP): void {
    this.#byAddress[ip.family].delete(toBigInt(ip));
  }

  at(ip: IP): Reservation | undefined {
    return this.#byAddress[ip.family].get(toBigInt(ip));
  }

  has(family: 4 | 6, value: bigint): boolean {
    return this.#byAddress[family].has(value);
  }

  *[Symbol.iterator](): Generator<Reservation> {
    yield* this.#byAddress[4].values();
    yield* this.#byAddress[6].values();
  }

  /** What this interface of the container holds, and what the container holds by a file that names no interface. */
  of(containerId: string, ifName: string): Reservation[] {
    const owner = ownerOf(containerId, ifName);
    const legacy = containerId.trim();
    const held: Reservation[] = [];
    for (const byAddress of [this.#byAddress[4], this.#byAddress[6]]) {
      for (const reservation of byAddress.values()) {
        if (reservation.owner === owner || reservation.owner === legacy) held.push(reservation);
      }
    }
    return held;
  }

  /**
   * What a release for this interface lets go: files that name it or, only where there is none, files that name no
   * interface. An address of another interface of an old container is thus kept for as long as it can be told apart.
   */
  releasedBy(containerId: string, ifName: string): Reservation[] {
    const held = this.of(containerId, ifName);
    const owner = ownerOf(containerId, ifName);
    const own = held.filter((each) => each.owner === owner);
    return own.length > 0 ? own : held;
  }

  /** How many addresses of a set are given away; a gateway that somebody reserved does not count. */
  countIn(set: RangeSet): number {
    return set.reduce((sum, range) => sum + this.#countIn(range), 0);
  }

  #countIn(range: Range): number {
    const [start, end, gateway] = [toBigInt(range.start), toBigInt(range.end), toBigInt(range.gateway)];
    let count = 0;
    for (const value of this.#byAddress[range.start.family].keys()) {
      if (start <= value && value <= end && value !== gateway) count++;
    }
    return count;
  }
}
