import { uptime } from 'node:os';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { isKernelError } from '../../linux/errors.ts';
import { ask } from './ask.ts';
import type { Clock } from './converse.ts';
import { exchange, isSettled, type Protocol, type RecordOf, type Types } from './protocol.ts';
import { bootId, type Holder, keyOf, type LeaseRoute, type RecordBase, type Records } from './records.ts';
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
const usualPatience = 60_000;
/** Milliseconds until a new interface has an address to send from: the detection of duplicates is over by then. */
const patienceForPort = 10_000;

/** Milliseconds that an answer is listened for when a lease is prolonged. In between, its namespace is not held open. */
const listenFor = 20_000;
/** The longest that a timer can be set to is 2^31 milliseconds. */
const longestSleep = 3_600_000;
/** Milliseconds until what failed for no reason of the network's is tried again. */
const retryAfter = 30_000;

/** A lease that is being kept. */
interface Kept<T extends Types> {
  record: RecordOf<T>;
  state: T['state'];
  readonly stop: AbortController;
  timer?: NodeJS.Timeout;
  work: Promise<void>;
}

/** What becomes of a record. */
type Changes<T extends Types> = Partial<Pick<RecordBase, 'status' | 'lostRoutes'>> & {
  readonly lease?: T['lease'];
  readonly offered?: T['offered'] | undefined;
};

/**
 * Has leases of a protocol and keeps them: asks for more time before they end, and puts into the pod what has changed.
 *
 * What it knows is on the disk before anybody is told. A process that ends leaves that behind, and the next one goes on
 * with {@link resume}.
 */
export class LeaseKeeper<T extends Types> {
  readonly #protocol: Protocol<T>;
  readonly #records: Records<RecordOf<T>>;
  readonly #clock: Clock;
  readonly #patience: number;
  readonly #kept = new Map<string, Kept<T>>();
  #log: LeaseLog | undefined;

  constructor(
    protocol: Protocol<T>,
    { directory, clock = () => uptime() * 1000, patience = usualPatience }: KeeperOptions,
  ) {
    this.#protocol = protocol;
    this.#records = protocol.records(directory);
    this.#clock = clock;
    this.#patience = patience;
  }

  /**
   * Has a lease. Who has one already, for the same interface, is given that.
   *
   * @param asked Who is to have it, and how it is asked for.
   * @throws {CniError} 11 when no server granted one, 999 when it was refused, or cannot be asked for. Nothing is kept then.
   */
  async acquire(asked: RecordOf<T>): Promise<T['lease']> {
    await this.#stop(asked);
    const before = await this.#records.read(asked);
    if (before?.lease !== undefined && this.#isGood(before) && this.#isOf(before, asked)) {
      this.#keep(before);
      return before.lease;
    }
    using seat = await Seat.open(asked);
    if (seat === undefined) {
      throw new CniError(ErrorCode.Internal, `interface "${asked.ifName}" is gone from ${asked.netns}`);
    }
    using port = await this.#protocol.openPort(seat, patienceForPort);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => this.#records.remove(asked));
    const client = this.#protocol.client(asked, seat);
    const question = { holder: asked, client, port, clock: this.#clock, patience: this.#patience };
    const lease = await ask(this.#protocol, question, async (offered) => {
      // DEL can give it back, also where this process ends before it knows the answer.
      await this.#records.write({ ...asked, offered });
      undo.defer(() => port.send(client.release(offered)));
    });
    const bound: RecordOf<T> = { ...asked, status: 'bound', lease };
    await this.#records.write(bound);
    undo.move();
    this.#keep(bound);
    return lease;
  }

  /** What is known of a lease; undefined where nothing is, or it was of another boot. */
  async find(holder: Holder): Promise<RecordOf<T> | undefined> {
    const record = await this.#records.read(holder);
    return record?.bootId === bootId() ? record : undefined;
  }

  /** Whether a lease may be used. */
  #isGood({ status, lease, bootId: boot }: RecordOf<T>): boolean {
    return status === 'bound' && boot === bootId() && lease !== undefined && lease.expiresAt > this.#clock();
  }

  /** Whether a record is of the same interface, and the same question to the servers. */
  #isOf(record: RecordOf<T>, asked: RecordOf<T>): boolean {
    const isSameInterface = record.netnsId === asked.netnsId && record.index === asked.index;
    return isSameInterface && this.#protocol.asksSame(record, asked);
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

  #keep(record: RecordOf<T>): void {
    const { lease, status } = record;
    const isBound = status === 'bound' && lease !== undefined;
    const state = isBound ? this.#protocol.resume(lease) : this.#protocol.seeking;
    const kept: Kept<T> = { record, state, stop: new AbortController(), work: Promise.resolve() };
    this.#kept.set(keyOf(record), kept);
    this.#sleep(kept);
  }

  #sleep(kept: Kept<T>, milliseconds = this.#dueAt(kept) - this.#clock()): void {
    if (kept.stop.signal.aborted) return;
    const wait = Math.min(Math.max(milliseconds, 0), longestSleep);
    kept.timer = setTimeout(() => {
      kept.work = this.#wake(kept);
    }, wait);
    // A command that is done does not wait for a lease to end; whoever resumes goes on with it.
    kept.timer.unref();
  }

  #dueAt({ state }: Kept<T>): number {
    return this.#protocol.dueAt(state) ?? 0;
  }

  async #wake(kept: Kept<T>): Promise<void> {
    if (this.#dueAt(kept) > this.#clock()) return this.#sleep(kept);
    try {
      await this.#prolong(kept);
    } catch (error) {
      if (kept.stop.signal.aborted) return;
      this.#log?.warn(
        { err: error, ...named(kept.record) },
        `a ${this.#protocol.name} lease could not be prolonged now`,
      );
      // Nothing that fails may keep an address beyond its time.
      const left = (this.#protocol.usable(kept.state)?.expiresAt ?? 0) - this.#clock();
      this.#sleep(kept, left > 0 ? Math.min(retryAfter, left) : retryAfter);
    }
  }

  /** One message, and what is answered to it. */
  async #prolong(kept: Kept<T>): Promise<void> {
    using seat = await Seat.open(kept.record);
    if (seat === undefined) return this.#forget(kept);
    const client = this.#protocol.client(kept.record, seat);
    const entered = (state: T['state']): Promise<void> => this.#follow(kept, seat, state);
    const step = client.elapse(kept.state, this.#clock());
    // A lease ends whether or not anything can be sent.
    if (isSettled(step.state)) await entered(step.state);
    else {
      // Not waited for: a DEL may be.
      using port = await this.#protocol.openPort(seat, 0);
      const clock = this.#clock;
      const terms = { client, port, clock, signal: kept.stop.signal, giveUpAt: clock() + listenFor, entered };
      kept.state = await exchange(this.#protocol, terms, step);
    }
    if (kept.state.at === 'expired') this.#kept.delete(keyOf(kept.record));
    else if (kept.state.at === 'refused') {
      this.#log?.warn(named(kept.record), `${this.#protocol.problem(kept.state)}`);
      kept.state = this.#protocol.seeking;
      this.#sleep(kept, retryAfter);
    } else this.#sleep(kept);
  }

  /** Puts into the pod, and on the disk, what a state means for its address. */
  async #follow(kept: Kept<T>, seat: Seat, state: T['state']): Promise<void> {
    const { name, usable, offered, routes, expire } = this.#protocol;
    const { record } = kept;
    const before = record.lease;
    const lease = usable(state);
    kept.state = state;
    if (state.at === 'expired') {
      const outcome = await expire(seat, record);
      await this.#note(kept, { status: 'expired' });
      this.#log?.warn(named(record), `the ${name} lease has expired: ${outcome}`);
    } else if (record.status === 'bound' && lease === undefined && before !== undefined) {
      const lostRoutes = await seat.present(routes(before));
      await this.#note(kept, { status: 'lost', lostRoutes });
      await seat.dropAddress(before.address);
      this.#log?.warn(named(record), `the ${name} server took the address back: another is asked for`);
    } else if (state.at === 'bound' && lease !== undefined) {
      await this.#note(kept, { status: 'bound', lease, offered: undefined, lostRoutes: undefined });
      const lost = record.status === 'lost' ? (record.lostRoutes ?? []) : undefined;
      if (before !== undefined) await this.#apply(kept, seat, before, lease, lost);
    } else if (lease === undefined) {
      const asked = offered(state);
      if (asked !== undefined) await this.#note(kept, { offered: asked });
    }
  }

  async #apply(kept: Kept<T>, seat: Seat, before: T['lease'], lease: T['lease'], lost: LeaseRoute[] | undefined) {
    const { name, routes } = this.#protocol;
    const placed = (each: T['lease']) => ({ address: each.address, routes: routes(each) });
    try {
      const changes = await seat.change(placed(before), placed(lease), lost);
      if (changes.length === 0) this.#log?.info(named(kept.record), `the ${name} lease was prolonged`);
      else this.#log?.warn({ ...named(kept.record), changes }, `the ${name} lease is another, and the pod with it`);
    } catch (error) {
      const fields = { err: error, ...named(kept.record) };
      this.#log?.warn(fields, `the ${name} lease changed, but the pod could not be changed`);
    }
  }

  async #note(kept: Kept<T>, changes: Changes<T>): Promise<void> {
    kept.record = { ...kept.record, ...changes };
    await this.#records.write(kept.record);
  }

  /** The pod is gone, and nobody said so: the lease ends by itself. */
  async #forget(kept: Kept<T>): Promise<void> {
    this.#kept.delete(keyOf(kept.record));
    await this.#records.remove(kept.record);
    const message = `the ${this.#protocol.name} lease is no longer kept: its interface is gone`;
    this.#log?.info(named(kept.record), message);
  }

  /** The address first: it is somebody else's as soon as the server knows. */
  async #giveBack(record: RecordOf<T>): Promise<void> {
    using seat = await Seat.open(record);
    // What the server took back is not this one's to give.
    const given = record.status === 'lost' ? record.offered : (record.lease ?? record.offered);
    if (seat === undefined || given === undefined || record.status === 'expired') return;
    if (record.lease !== undefined) await seat.dropAddress(record.lease.address);
    try {
      using port = await this.#protocol.openPort(seat, 0);
      port.send(this.#protocol.client(record, seat).release(given));
    } catch (error) {
      // There is nothing to say it from.
      if (!isKernelError(error) && !(error instanceof CniError)) throw error;
    }
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

/** What a line of the log says of a lease. */
function named({ network, containerId, ifName, lease }: Holder & Pick<RecordOf<Types>, 'lease'>): object {
  return { network, containerId, ifName, address: lease?.address };
}
