import { mkdir } from 'node:fs/promises';
import type { IP } from '../../net/ip.ts';
import { isSystemError, type NewReservation, ReservationFiles, throwFirst } from './files.ts';
import { DirectoryLock } from './lock.ts';
import type { Reservation, Reservations } from './reservations.ts';

/** Directories whose content is kept in memory; some hundred kilobytes for a network of thousands of addresses. */
const maxStores = 256;

/** What the files of a directory say. */
interface View {
  readonly reservations: Reservations;
  /** By range set. A set that was not asked for yet is absent. */
  readonly last: Map<number, IP | undefined>;
  /** The mtime that the directory has for as long as all of this is true. Undefined while it is being changed. */
  mtime: bigint | undefined;
}

/** What may be done while the directory is locked. */
export interface Transaction {
  readonly reservations: Reservations;
  /** The address that a range set gave away last, where that is known. */
  lastReserved(set: number): Promise<IP | undefined>;
  /** Gives addresses to an owner, all or none. They are on disk when this returns. */
  reserve(allocations: readonly NewReservation[], owner: string): Promise<void>;
  /** Takes addresses back. */
  release(reservations: readonly Reservation[]): Promise<void>;
}

const stores = new Map<string, Store>();

/** The store of a directory. Any number of stores of one directory, in any number of processes, may be used at once. */
export function openStore(directory: string): Store {
  const store = stores.get(directory) ?? new Store(directory);
  stores.delete(directory);
  stores.set(directory, store);
  const [oldest] = stores.keys();
  if (stores.size > maxStores && oldest !== undefined) stores.delete(oldest);
  return store;
}

/**
 * One network's reservations, which the Go plugin may change at the same time.
 *
 * The content of the files is kept in memory between calls, so that an ADD among thousands of reservations reads none of
 * them. The directory's mtime tells whether it still holds: it is set to a value of our own before the lock is let go,
 * and whoever makes or removes a file after that changes it. What somebody did before that without asking for the lock,
 * such as an operator's rm, could still be missed; therefore work that fails is done once more from the files themselves
 * before its failure is reported.
 */
export class Store {
  readonly #directory: string;
  readonly #files: ReservationFiles;
  #view: View | undefined;
  /** Given away in this turn. */
  #given: NewReservation[] = [];
  #turn: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
    this.#files = new ReservationFiles(directory);
  }

  /**
   * Does work under the lock, making the directory where it does not exist. Calls for one store take turns.
   *
   * @param work Done twice where it fails the first time; it must have no effects but those of its transaction.
   */
  async change<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    const outcome = await this.changeExisting(work);
    if (outcome !== undefined) return outcome.value;
    await mkdir(this.#directory, { recursive: true, mode: 0o755 });
    const second = await this.changeExisting(work);
    if (second === undefined) throw new Error(`${this.#directory}/lock cannot be made, or vanishes again and again`);
    return second.value;
  }

  /** The same, where there is a directory; otherwise undefined, and nothing is made. */
  async changeExisting<T>(work: (transaction: Transaction) => Promise<T>): Promise<{ value: T } | undefined> {
    const previous = this.#turn;
    const { promise, resolve: endTurn } = Promise.withResolvers<void>();
    this.#turn = promise;
    await previous;
    let lock: DirectoryLock;
    try {
      lock = await DirectoryLock.acquire(this.#directory);
    } catch (thrown) {
      endTurn();
      if (isSystemError(thrown, 'ENOENT')) return undefined;
      throw thrown;
    }
    try {
      return { value: await this.#work(work) };
    } finally {
      // The caller need not wait for what only the next one profits from.
      void this.#leave(lock).finally(endTurn);
    }
  }

  async #work<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    if (this.#view !== undefined && this.#view.mtime === this.#files.readMtime()) {
      try {
        return await work(this.#transaction(this.#view));
      } catch {
        // What we remember may be why it failed.
      }
    }
    this.#view = undefined;
    const reservations = await this.#files.readAll();
    this.#view = { reservations, last: new Map(), mtime: undefined };
    return work(this.#transaction(this.#view));
  }

  #transaction(view: View): Transaction {
    const files = this.#files;
    const given = this.#given;
    return {
      reservations: view.reservations,
      async lastReserved(set) {
        if (!view.last.has(set)) view.last.set(set, await files.readLast(set));
        return view.last.get(set);
      },
      async reserve(allocations, owner) {
        view.mtime = undefined;
        await files.create(allocations, owner);
        given.push(...allocations);
        for (const { ip, set } of allocations) {
          view.reservations.add({ ip, owner });
          view.last.set(set, ip);
        }
      },
      async release(reservations) {
        view.mtime = undefined;
        const removals = await Promise.allSettled(reservations.map(({ ip }) => files.remove(ip)));
        for (const [index, { ip }] of reservations.entries()) {
          if (removals[index]?.status === 'fulfilled') view.reservations.delete(ip);
        }
        throwFirst(removals);
      },
    };
  }

  /** Marks the directory, so that the next one knows whether it changed, and lets the lock go. */
  async #leave(lock: DirectoryLock): Promise<void> {
    using _ = lock;
    const given = this.#given.splice(0);
    const view = this.#view;
    if (view === undefined || view.mtime !== undefined) return;
    try {
      if (given.length > 0) await this.#files.mark(given);
      view.mtime = await this.#files.stampMtime();
    } catch {
      // Nobody is given a wrong address for want of this. The next one reads the directory again.
      this.#view = undefined;
    }
  }
}
