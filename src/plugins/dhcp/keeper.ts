import { readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { ask, offeredIn } from './ask.ts';
import { type Client, dueAt, elapse, release, resume, type State, usable } from './client.ts';
import type { Clock } from './converse.ts';
import { exchange, Port } from './exchange.ts';
import type { Lease } from './lease.ts';
import { type Holder, keyOf, type LeaseRecord, leaseRecords, type Records } from './records.ts';
import { Seat } from './seat.ts';

/** Where it is told what becomes of leases between calls. */
export interface LeaseLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface KeeperOptions {
  readonly directory: string;
  /** Default: the node's uptime, which is every process'. */
  readonly clock?: Clock;
  /** Milliseconds until an ADD without an answer fails. Default: {@link usualPatience}. */
  readonly patience?: number;
}

/** Longer than a server that looks whether an address is in use before it offers it, shorter than runtimes wait. */
export const usualPatience = 60_000;

/** Milliseconds that an answer is listened for when a lease is prolonged. In between, its namespace is not held open. */
export const listenFor = 20_000;
/** The longest that a timer can be set to is 2^31 milliseconds. */
export const longestSleep = 3_600_000;
/** Milliseconds until what failed for no reason of the network's is tried again. */
export const retryAfter = 30_000;

/** Who is to have a lease, and how it is asked for. */
export type Applicant = Omit<LeaseRecord, 'status' | 'lease' | 'lostRoutes' | 'offered' | 'bootId'>;

/** Looking for a server, from now on. */
const seeking: State = { at: 'selecting', xid: 0, since: 0, dueAt: 0, tries: 0, refusals: [] };

/** A lease that is being kept. */
interface Kept {
  record: LeaseRecord;
  state: State;
  readonly stop: AbortController;
  timer?: NodeJS.Timeout;
  work: Promise<void>;
}

/**
 * Has leases and keeps them: asks for more time before they end, and puts into the pod what has changed.
 *
 * What it knows is on the disk before anybody is told. A process that ends leaves that behind, and the next one goes on
 * with {@link resume}.
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
   * @throws {CniError} 11 when no server answered, 999 when it refused. Nothing is kept then.
   */
  async acquire(applicant: Applicant): Promise<Lease> {
    await this.#stop(applicant);
    const before = await this.#records.read(applicant);
    if (before?.lease !== undefined && this.#isGood(before) && isOf(before, applicant)) {
      this.#keep(before);
      return before.lease;
    }
    const record: LeaseRecord = { ...applicant, bootId: bootId(), status: 'asked' };
    using seat = await Seat.open(record);
    if (seat === undefined) {
      throw new CniError(ErrorCode.Internal, `interface "${record.ifName}" is gone from ${record.netns}`);
    }
    using port = new Port(seat.namespace, record.index);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.#records.remove(record));
    const client = clientOf(record, seat);
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
      this.#log?.warn({ err: error, ...named(kept.record) }, 'a DHCP lease could not be prolonged now');
      // Nothing that fails may keep an address beyond its time.
      const left = (usable(kept.state)?.expiresAt ?? 0) - this.#clock();
      this.#sleep(kept, left > 0 ? Math.min(retryAfter, left) : retryAfter);
    }
  }

  /** One message, and what is answered to it. */
  async #prolong(kept: Kept): Promise<void> {
    using seat = await Seat.open(kept.record);
    if (seat === undefined) return this.#forget(kept);
    using port = new Port(seat.namespace, seat.link.index);
    const client = clientOf(kept.record, seat);
    const { signal } = kept.stop;
    const giveUpAt = this.#clock() + listenFor;
    const entered = (state: State): Promise<void> => this.#follow(kept, seat, state);
    const step = elapse(client, kept.state, this.#clock());
    kept.state = await exchange({ client, port, clock: this.#clock, signal, giveUpAt, entered }, step);
    if (kept.state.at === 'expired') this.#kept.delete(keyOf(kept.record));
    else if (kept.state.at === 'refused') {
      this.#log?.warn(named(kept.record), kept.state.problem);
      kept.state = seeking;
      this.#sleep(kept, retryAfter);
    } else this.#sleep(kept);
  }

  /** Puts into the pod, and on the disk, what a state means for its address. */
  async #follow(kept: Kept, seat: Seat, state: State): Promise<void> {
    const { record } = kept;
    const before = record.lease;
    const lease = usable(state);
    kept.state = state;
    if (state.at === 'expired') {
      await seat.setDown();
      await this.#note(kept, { status: 'expired' });
      this.#log?.warn(named(record), 'the DHCP lease has expired: the interface is down');
    } else if (record.status === 'bound' && lease === undefined && before !== undefined) {
      const lostRoutes = await seat.present(before.routes);
      await this.#note(kept, { status: 'lost', lostRoutes });
      await seat.dropAddress(before.address);
      this.#log?.warn(named(record), 'the DHCP server took the address back: another is asked for');
    } else if (state.at === 'requesting' && lease === undefined) {
      await this.#note(kept, { offered: offeredIn(state) });
    } else if (state.at === 'bound' && lease !== undefined) {
      await this.#note(kept, { status: 'bound', lease, offered: undefined, lostRoutes: undefined });
      await this.#apply(kept, seat, before, lease, record.lostRoutes);
    }
  }

  async #apply(kept: Kept, seat: Seat, before: Lease | undefined, lease: Lease, lost: LeaseRecord['lostRoutes']) {
    if (before === undefined) return;
    try {
      const changes = await seat.change(before, lease, lost);
      if (changes.length === 0) this.#log?.info(named(kept.record), 'the DHCP lease was prolonged');
      else this.#log?.warn({ ...named(kept.record), changes }, 'the DHCP lease is another, and the pod with it');
    } catch (error) {
      this.#log?.warn(
        { err: error, ...named(kept.record) },
        'the DHCP lease changed, but the pod could not be changed',
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
    this.#log?.info(named(kept.record), 'the DHCP lease is no longer kept: its interface is gone');
  }

  /** The address first: it is somebody else's as soon as the server knows. */
  async #giveBack(record: LeaseRecord): Promise<void> {
    using seat = await Seat.open(record);
    // What the server took back is not this one's to give.
    const given = record.status === 'lost' ? record.offered : (record.lease ?? record.offered);
    if (seat === undefined || given === undefined || record.status === 'expired') return;
    if (record.lease !== undefined) await seat.dropAddress(record.lease.address);
    using port = new Port(seat.namespace, record.index);
    port.send(release(clientOf(record, seat), given));
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

function clientOf({ options, broadcast }: LeaseRecord, { link }: Seat): Client {
  return {
    hardwareAddress: Buffer.from(link.mac.replaceAll(':', ''), 'hex'),
    options: new Map(options.map(([code, value]) => [code, Buffer.from(value, 'hex')])),
    broadcast,
    random: Math.random,
  };
}

/** Whether a record is of the same interface, and the same question to the server. */
const isOf = (record: LeaseRecord, { netnsId, index, options }: Applicant): boolean =>
  record.netnsId === netnsId && record.index === index && JSON.stringify(record.options) === JSON.stringify(options);

/** What a line of the log says of a lease. */
function named({ network, containerId, ifName, lease }: LeaseRecord): object {
  return { network, containerId, ifName, address: lease?.address };
}

let boot: string | undefined;

/** Namespaces and the node's uptime mean nothing after the next boot. */
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}
