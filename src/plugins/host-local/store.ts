import { constants } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatIP, type IP, parseIP } from '../../net/ip.ts';
import { DirectoryLock } from './lock.ts';
import { type Reservation, Reservations } from './reservations.ts';

/** Files read at once when a directory is read in. */
const readsAtOnce = 64;

/** Directories whose content is kept in memory; a few hundred kilobytes for a network of thousands of addresses. */
const maxStores = 256;

/** Not addresses, so that the Go plugin's search for a container's addresses passes over them. */
const temporaryReservation = '.reservation.tmp';
const temporaryLast = (set: number): string => `.last_reserved_ip.${set}.tmp`;

/** What the files of a directory say. */
interface View {
  readonly reservations: Reservations;
  /** The files that they come from. */
  readonly names: Set<string>;
  /** By range set. A set that was not asked for yet is absent. */
  readonly last: Map<number, IP | undefined>;
  /** The directory's mtime, in nanoseconds, from which on the view is known to be true. */
  stamp: bigint | undefined;
}

/** What may be done while the directory is locked. */
export interface Transaction {
  readonly reservations: Reservations;
  /** The address that a range set gave away last. Undefined where there is none or the file is damaged. */
  lastReserved(set: number): Promise<IP | undefined>;
  /** Gives addresses to an owner, all or none. They are on disk when this returns. */
  reserve(allocations: readonly { readonly ip: IP; readonly set: number }[], owner: string): Promise<void>;
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
 * One network's reservations on disk, in the format of the containernetworking host-local plugin, which may use the same
 * directory at the same time:
 *
 *     10.0.0.5              one file for each address, 0600: container id, CR LF, interface name
 *     last_reserved_ip.0    the address that range set 0 gave away last, 0600
 *     lock                  flock'ed while any of these is read or written, 0750
 *
 * A reservation appears whole or not at all: its content is written and synced under another name, then linked to its
 * own, which fails where the name exists. A power cut cannot leave an empty file that no DEL would ever match. The
 * directory itself is not synced: what a power cut takes back belonged to sandboxes that it ended as well.
 *
 * The content is kept in memory between calls, so that an ADD among thousands of reservations reads none of them. To
 * know whether it still holds, the directory's mtime is set to a moment in the past of our choice before the lock is let
 * go: whoever creates or removes a file after that leaves another mtime, however coarse the file system's clock is. What
 * somebody did before that without asking for the lock, such as an operator's rm, shows when the names are compared.
 */
export class Store {
  readonly #directory: string;
  #view: View | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Does work under the lock, making the directory where it does not exist. Calls for one store take turns. */
  async change<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    for (;;) {
      const outcome = await this.changeExisting(work);
      if (outcome !== undefined) return outcome.value;
      await mkdir(this.#directory, { recursive: true, mode: 0o755 });
    }
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
      if (isNoEntry(thrown)) return undefined;
      throw thrown;
    }
    try {
      const view = await this.#currentView();
      return { value: await work(this.#transaction(view)) };
    } finally {
      // The caller need not wait for what only the next one profits from.
      void this.#leave(lock).finally(endTurn);
    }
  }

  async #currentView(): Promise<View> {
    const { mtimeNs } = await stat(this.#directory, { bigint: true });
    if (this.#view?.stamp !== mtimeNs) {
      this.#view = undefined;
      this.#view = await this.#readView();
    }
    return this.#view;
  }

  async #readView(): Promise<View> {
    const names = await this.#readNames();
    const reservations = new Reservations();
    for (let at = 0; at < names.length; at += readsAtOnce) {
      const some = names.slice(at, at + readsAtOnce).map((name) => this.#readReservation(name));
      for (const reservation of await Promise.all(some)) {
        if (reservation !== undefined) reservations.add(reservation);
      }
    }
    return { reservations, names: new Set(names), last: new Map(), stamp: undefined };
  }

  /** The names that look like addresses. */
  async #readNames(): Promise<string[]> {
    return (await readdir(this.#directory)).filter((name) => /^[0-9a-f:][0-9a-f.:]*$/.test(name));
  }

  async #readReservation(name: string): Promise<Reservation | undefined> {
    const ip = reservedBy(name);
    if (ip === undefined) return undefined;
    try {
      return { ip, owner: (await readFile(this.#path(name), 'utf8')).trim() };
    } catch {
      // What cannot be read, such as a directory, still keeps its address from being given away.
      return { ip, owner: '' };
    }
  }

  #transaction(view: View): Transaction {
    return {
      reservations: view.reservations,
      lastReserved: async (set) => {
        if (!view.last.has(set)) view.last.set(set, await this.#readLast(set));
        return view.last.get(set);
      },
      reserve: async (allocations, owner) => {
        view.stamp = undefined;
        await this.#writeReservations(allocations, owner);
        for (const { ip, set } of allocations) {
          view.reservations.add({ ip, owner });
          view.names.add(formatIP(ip));
          view.last.set(set, ip);
        }
      },
      release: async (reservations) => {
        view.stamp = undefined;
        const removals = await Promise.allSettled(reservations.map(({ ip }) => this.#remove(formatIP(ip))));
        for (const [index, { ip }] of reservations.entries()) {
          if (removals[index]?.status !== 'fulfilled') continue;
          view.reservations.delete(ip);
          view.names.delete(formatIP(ip));
        }
        throwFirst(removals);
      },
    };
  }

  async #writeReservations(
    allocations: readonly { readonly ip: IP; readonly set: number }[],
    owner: string,
  ): Promise<void> {
    const linked: string[] = [];
    try {
      await this.#writeTemporary(owner);
      const writes = await Promise.allSettled([
        ...allocations.map(async ({ ip }) => {
          const name = formatIP(ip);
          await link(this.#path(temporaryReservation), this.#path(name));
          linked.push(name);
        }),
        ...allocations.map(({ ip, set }) => this.#writeLast(set, ip)),
      ]);
      throwFirst(writes);
    } catch (thrown) {
      this.#view = undefined;
      const temporaries = [temporaryReservation, ...allocations.map(({ set }) => temporaryLast(set))];
      await Promise.allSettled([...linked, ...temporaries].map((name) => this.#remove(name)));
      throw thrown;
    }
  }

  async #writeTemporary(content: string): Promise<void> {
    const path = this.#path(temporaryReservation);
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_DSYNC;
    try {
      await writeFile(path, content, { flag: flags, mode: 0o600 });
    } catch (thrown) {
      if (!isSystemError(thrown, 'EEXIST')) throw thrown;
      // Left by a process that was killed. It may be linked to a reservation already, so it must not be written to.
      await this.#remove(temporaryReservation);
      await writeFile(path, content, { flag: flags, mode: 0o600 });
    }
  }

  async #readLast(set: number): Promise<IP | undefined> {
    try {
      return parseIP(await readFile(this.#path(`last_reserved_ip.${set}`), 'utf8'));
    } catch {
      // The next ADD begins at the range's start, as the original's does.
      return undefined;
    }
  }

  async #writeLast(set: number, ip: IP): Promise<void> {
    const temporary = this.#path(temporaryLast(set));
    await writeFile(temporary, formatIP(ip), { mode: 0o600 });
    await rename(temporary, this.#path(`last_reserved_ip.${set}`));
  }

  async #remove(name: string): Promise<void> {
    try {
      await unlink(this.#path(name));
    } catch (thrown) {
      if (!isNoEntry(thrown)) throw thrown;
    }
  }

  /** Leaves the directory as the next one expects it, and lets the lock go. */
  async #leave(lock: DirectoryLock): Promise<void> {
    await using _ = lock;
    const view = this.#view;
    if (view === undefined || view.stamp !== undefined) return;
    try {
      await this.#remove(temporaryReservation);
      const secondsAgo = 1 + Math.random();
      const stamp = Date.now() / 1000 - secondsAgo;
      await utimes(this.#directory, stamp, stamp);
      const { mtimeNs } = await stat(this.#directory, { bigint: true });
      const names = await this.#readNames();
      const isTrue = names.length === view.names.size && names.every((name) => view.names.has(name));
      if (isTrue) view.stamp = mtimeNs;
    } catch {
      // Without a stamp, the next one reads the directory again.
    }
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

/** The address that a file of this name reserves. Names that the Go plugin would write otherwise reserve none. */
function reservedBy(name: string): IP | undefined {
  try {
    const ip = parseIP(name);
    return formatIP(ip) === name ? ip : undefined;
  } catch {
    return undefined;
  }
}

function throwFirst(outcomes: readonly PromiseSettledResult<unknown>[]): void {
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

function isNoEntry(thrown: unknown): boolean {
  return isSystemError(thrown, 'ENOENT');
}

function isSystemError(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code;
}
