import { createHash } from 'node:crypto';
import { uptime } from 'node:os';
import { CniError, ErrorCode } from '../../../cni/error.ts';
import type { Clock } from '../converse.ts';
import {
  bootId,
  type KeeperOptions,
  type LeaseLog,
  listenFor,
  longestSleep,
  retryAfter,
  usualPatience,
} from '../keeper.ts';
import { type Holder, keyOf, type Records } from '../records.ts';
import { Seat } from '../seat.ts';
import { ask, linkLocalOf } from './ask.ts';
import { type Client, dueAt, elapse, release, resume, type State, usable } from './client.ts';
import { exchange, Port } from './exchange.ts';
import type { Lease } from './lease.ts';
import { type LeaseRecord, leaseRecords } from './records.ts';

/** Who is to have a lease, and where. */
export type Applicant = Pick<LeaseRecord, 'network' | 'containerId' | 'ifName' | 'netns' | 'netnsId' | 'index'>;

/** Looking for a server, from now on. */
const seeking: State = {
  at: 'soliciting',
  transaction: 0,
  since: 0,
  dueAt: 0,
  wait: 0,
  tries: 0,
  longest: 3_600_000,
};

/** A lease that is being kept. */
interface Kept {
  record: LeaseRecord;
  state: State;
  readonly stop: AbortController;
  timer?: NodeJS.Timeout;
  work: Promise<void>;
}

/**
 * Has leases of IPv6 and keeps them, as the keeper of IPv4 does: what it knows is on the disk before anybody is told, and
 * the next process goes on with {@link resume}.
 */
export class LeaseKeeper {
  readonly #records: Records<LeaseRecord>;
  readonly #clock: Clock;
  readonly #patience: number;
  readonly #kept = new Map<string, Kept>();
  #log: LeaseLog | undefined;

  constructor({ directory, clock = () => uptime() * 1000, patience = usualPatience }: KeeperOptions) {
    this.#records = leaseRecords(directory);
    this.#clock = clock;
    this.#patience = patience;
  }

  /**
   * Has a lease. Who has one already, for the same interface, is given that.
   *
   * @throws {CniError} 11 when no server granted one, 999 when the interface has no link-local address. Nothing is kept then.
   */
  async acquire(applicant: Applicant): Promise<Lease> {
    await this.#stop(applicant);
    const before = await this.#records.read(applicant);
    if (before?.lease !== undefined && this.#isGood(before) && isOf(before, applicant)) {
      this.#keep(before);
      return before.lease;
    }
    const record: LeaseRecord = { ...applicant, duid: duidOf(applicant), bootId: bootId(), status: 'asked' };
    using seat = await Seat.open(record);
    if (seat === undefined) {
      throw new CniError(ErrorCode.Internal, `interface "${record.ifName}" is gone from ${record.netns}`);
    }
    using port = new Port(seat.namespace, record.index, await linkLocalOf(seat));
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.#records.remove(record));
    const client = clientOf(record);
    const question = { record, client, port, clock: this.#clock, patience: this.#patience };
    const lease = await ask(question, async (offered) => {
      // DEL can give it back, also where this process ends before it knows the answer.
      await this.#records.write({ ...record, offered });
      undo.defer(() => port.send(release(client, offered)));
    });
    const bound: LeaseRecord = { ...record, status: 'bound', lease };
    await this.#records.write(bound);
    undo.move();
    this.#keep(bound);
    return lease;
  }

  /** What is known of a lease; undefined where nothing is, or it was of another boot. */
  async find(holder: Holder): Promise<LeaseRecord | undefined> {
    const record = await this.#records.read(holder);
    return record?.bootId === bootId() ? record : undefined;
  }

  /** Whether a lease may be used. */
  #isGood({ status, lease, bootId: boot }: LeaseRecord): boolean {
    return status === 'bound' && boot === bootId() && lease !== undefined && lease.expiresAt > this.#clock();
  }

  /**
   * Gives a lease back. Where its interface or the server is gone, it ends by itself.
   *
   * @throws {Error} of the disk: it is still noted then.
   */
  async release(holder: Holder): Promise<void> {
    await this.#stop(holder);
    const record = await this.find(holder);
    if (record !== undefined) await this.#giveBack(record);
    await this.#records.remove(holder);
  }

  /** Gives back what a network's holders have who are not among these. */
  async releaseOthers(network: string, isValid: (holder: Holder) => boolean): Promise<void> {
    const records = await this.#records.list();
    for (const record of records.filter((each) => each.network === network && !isValid(each))) {
      await this.release(record);
    }
  }

  /**
   * Goes on with the leases that a process before this one had.
   *
   * @param log Told from now on what becomes of leases.
   */
  async resume(log: LeaseLog): Promise<void> {
    this.#log = log;
    for (const record of await this.#records.list()) {
      const isOver = record.status === 'asked' || record.status === 'expired';
      if (record.bootId !== bootId()) await this.#records.remove(record);
      else if (!isOver && !this.#kept.has(keyOf(record))) this.#keep(record);
    }
  }

  /** Asks for no more time. What is kept stays noted. */
  async close(): Promise<void> {
    this.#log = undefined;
    await Promise.all([...this.#kept.values()].map(({ record }) => this.#stop(record)));
  }

  #keep(record: LeaseRecord): void {
    const { lease, status } = record;
    const state = status === 'bound' && lease !== undefined ? resume(lease) : seeking;
    const kept: Kept = { record, state, stop: new AbortController(), work: Promise.resolve() };
    this.#kept.set(keyOf(record), kept);
    this.#sleep(kept);
  }

  #sleep(kept: Kept, milliseconds = (dueAt(kept.state) ?? 0) - this.#clock()): void {
    if (kept.stop.signal.aborted) return;
    const wait = Math.min(Math.max(milliseconds, 0), longestSleep);
    kept.timer = setTimeout(() => {
      kept.work = this.#wake(kept);
    }, wait);
    // A command that is done does not wait for a lease to end; whoever resumes goes on with it.
    kept.timer.unref();
  }

  async #wake(kept: Kept): Promise<void> {
    if ((dueAt(kept.state) ?? 0) > this.#clock()) return this.#sleep(kept);
    try {
      await this.#prolong(kept);
    } catch (error) {
      if (kept.stop.signal.aborted) return;
      this.#log?.warn({ err: error, ...named(kept.record) }, 'a DHCPv6 lease could not be prolonged now');
      // Nothing that fails may keep an address beyond its time.
      const left = (usable(kept.state)?.expiresAt ?? 0) - this.#clock();
      this.#sleep(kept, left > 0 ? Math.min(retryAfter, left) : retryAfter);
    }
  }

  /** One message, and what is answered to it. A lease ends whether or not anything can be sent. */
  async #prolong(kept: Kept): Promise<void> {
    using seat = await Seat.open(kept.record);
    if (seat === undefined) return this.#forget(kept);
    const client = clientOf(kept.record);
    const step = elapse(client, kept.state, this.#clock());
    if (step.state.at === 'expired') {
      await this.#follow(kept, seat, step.state);
      this.#kept.delete(keyOf(kept.record));
      return;
    }
    const own = await seat.linkLocal();
    // Not waited for: a DEL may be.
    if (own === undefined) throw new Error(`interface "${seat.link.name}" has no link-local address that it may use`);
    using port = new Port(seat.namespace, seat.link.index, own);
    const { signal } = kept.stop;
    const giveUpAt = this.#clock() + listenFor;
    const entered = (state: State): Promise<void> => this.#follow(kept, seat, state);
    kept.state = await exchange({ client, port, clock: this.#clock, signal, giveUpAt, entered }, step);
    if (kept.state.at === 'expired') this.#kept.delete(keyOf(kept.record));
    else this.#sleep(kept);
  }

  /** Puts into the pod, and on the disk, what a state means for its address. */
  async #follow(kept: Kept, seat: Seat, state: State): Promise<void> {
    const { record } = kept;
    const before = record.lease;
    const lease = usable(state);
    kept.state = state;
    if (state.at === 'expired') {
      // The interface stays up: it may have a lease of IPv4 that is good.
      if (before !== undefined && record.status === 'bound') await seat.dropAddress(before.address);
      await this.#note(kept, { status: 'expired' });
      this.#log?.warn(named(record), 'the DHCPv6 lease has expired: the address is gone');
    } else if (record.status === 'bound' && lease === undefined && before !== undefined) {
      await this.#note(kept, { status: 'lost' });
      await seat.dropAddress(before.address);
      this.#log?.warn(named(record), 'the DHCPv6 server took the address back: another is asked for');
    } else if (state.at === 'requesting' && lease === undefined && state.tries <= 1) {
      await this.#note(kept, { offered: state.offer });
    } else if (state.at === 'bound') {
      await this.#note(kept, { status: 'bound', lease: state.lease, offered: undefined });
      if (before !== undefined) await this.#apply(kept, seat, before, state.lease, record.status === 'lost');
    }
  }

  async #apply(kept: Kept, seat: Seat, before: Lease, lease: Lease, isLost: boolean): Promise<void> {
    const placed = ({ address }: Lease) => ({ address, routes: [] });
    try {
      const changes = await seat.change(placed(before), placed(lease), isLost ? [] : undefined);
      if (changes.length === 0) this.#log?.info(named(kept.record), 'the DHCPv6 lease was prolonged');
      else this.#log?.warn({ ...named(kept.record), changes }, 'the DHCPv6 lease is another, and the pod with it');
    } catch (error) {
      this.#log?.warn(
        { err: error, ...named(kept.record) },
        'the DHCPv6 lease changed, but the pod could not be changed',
      );
    }
  }

  async #note(kept: Kept, changes: Partial<LeaseRecord>): Promise<void> {
    kept.record = { ...kept.record, ...changes };
    await this.#records.write(kept.record);
  }

  /** The pod is gone, and nobody said so: the lease ends by itself. */
  async #forget(kept: Kept): Promise<void> {
    this.#kept.delete(keyOf(kept.record));
    await this.#records.remove(kept.record);
    this.#log?.info(named(kept.record), 'the DHCPv6 lease is no longer kept: its interface is gone');
  }

  /** The address first: it is somebody else's as soon as the server knows. */
  async #giveBack(record: LeaseRecord): Promise<void> {
    using seat = await Seat.open(record);
    // What the server took back is not this one's to give.
    const given = record.status === 'lost' ? record.offered : (record.lease ?? record.offered);
    if (seat === undefined || given === undefined || record.status === 'expired') return;
    if (record.lease !== undefined) await seat.dropAddress(record.lease.address);
    const own = await seat.linkLocal();
    if (own === undefined) return;
    using port = Port.openIfAny(seat.namespace, record.index, own);
    port?.send(release(clientOf(record), given));
  }

  /** Ends what is under way for a lease. */
  async #stop(holder: Holder): Promise<void> {
    const key = keyOf(holder);
    const kept = this.#kept.get(key);
    if (kept === undefined) return;
    this.#kept.delete(key);
    clearTimeout(kept.timer);
    kept.stop.abort();
    await kept.work;
  }
}

/** RFC 8415, section 11.5: a DUID of type 4 is a UUID. */
const uuidType = 4;
const uuidLength = 16;

/**
 * What servers know the container's interface in the network by. Not its hardware address: that may be shared, as ipvlan's
 * is, or another at the next ADD.
 */
export function duidOf(holder: Holder): string {
  const uuid = createHash('sha256')
    .update(`dhcpv6 ${keyOf(holder)}`)
    .digest()
    .subarray(0, uuidLength);
  return Buffer.concat([Uint8Array.of(0, uuidType), uuid]).toString('hex');
}

const clientOf = ({ duid }: LeaseRecord): Client => ({ duid: Buffer.from(duid, 'hex'), random: Math.random });

/** Whether a record is of the same interface. */
const isOf = (record: LeaseRecord, { netnsId, index }: Applicant): boolean =>
  record.netnsId === netnsId && record.index === index;

/** What a line of the log says of a lease. */
function named({ network, containerId, ifName, lease }: LeaseRecord): object {
  return { network, containerId, ifName, address: lease?.address };
}
