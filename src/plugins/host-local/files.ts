import { channel } from 'node:diagnostics_channel';
import { constants, statSync } from 'node:fs';
import { lstat, readdir, readFile, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatIP, type IP, parseIP } from '../../net/ip.ts';
import { type Reservation, Reservations } from './reservations.ts';

/** Told before each change on disk. Tests end the process here to show that every step can be recovered from. */
const steps = channel('plexus:host-local');

/** Files read at once when a directory is read in. */
const readsAtOnce = 64;

/** Of a reservation, as every host-local makes it. */
const reservationMode = 0o600;
const newAndSynced = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_DSYNC;

/** An address to give away, and the range set that it is from. */
export interface NewReservation {
  readonly ip: IP;
  readonly set: number;
}

/**
 * One network's reservations on disk, in the format of the containernetworking host-local plugin:
 *
 *     10.0.0.5              one file for each address, 0600: container id, CR LF, interface name
 *     last_reserved_ip.0    the address that range set 0 gave away last, 0600
 *     lock                  flock'ed while any of these is read or written, 0750
 *
 * Everything here is done under that lock (see lock.ts).
 */
export class ReservationFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async readAll(): Promise<Reservations> {
    // Names that look like addresses.
    const names = (await readdir(this.#directory)).filter((name) => /^[0-9a-f:][0-9a-f.:]*$/.test(name));
    const reservations = new Reservations();
    for (let at = 0; at < names.length; at += readsAtOnce) {
      const some = names.slice(at, at + readsAtOnce).map((name) => this.#read(name));
      for (const reservation of await Promise.all(some)) {
        if (reservation !== undefined) reservations.add(reservation);
      }
    }
    return reservations;
  }

  async #read(name: string): Promise<Reservation | undefined> {
    const ip = reservedBy(name);
    if (ip === undefined) return undefined;
    try {
      const owner = (await readFile(this.#path(name), 'utf8')).trim();
      return owner === '' && (await this.#removeUnwritten(name)) ? undefined : { ip, owner };
    } catch {
      // What cannot be read, such as a directory, still keeps its address from being given away.
      return { ip, owner: '' };
    }
  }

  /**
   * A plugin that was killed, or a power cut, can leave a file that was made but not written: nobody was told of that
   * address. An empty file of another mode was put there by a person, to keep the address.
   */
  async #removeUnwritten(name: string): Promise<boolean> {
    const { size, mode } = await lstat(this.#path(name));
    if (size > 0 || (mode & 0o7777) !== reservationMode) return false;
    await this.#remove(name);
    return true;
  }

  /**
   * Gives addresses to an owner, all or none. They are on disk, synced, when this returns. The directory itself is not
   * synced: what a power cut takes back belonged to sandboxes that it ended as well. {@link mark} is to follow, for which
   * nobody need wait.
   */
  async create(reservations: readonly NewReservation[], owner: string): Promise<void> {
    steps.publish({ at: 'create' });
    const names = reservations.map(({ ip }) => formatIP(ip));
    const writes = await Promise.allSettled(
      names.map((name) => writeFile(this.#path(name), owner, { flag: newAndSynced, mode: reservationMode })),
    );
    if (writes.every(({ status }) => status === 'fulfilled')) return;
    const ours = names.filter((_, index) => {
      const write = writes[index];
      return write?.status === 'fulfilled' || !isSystemError(write?.reason, 'EEXIST');
    });
    await Promise.allSettled(ours.map((name) => this.#remove(name)));
    throwFirst(writes);
  }

  /** Notes which address each range set gave away last. Half a note is none, and the search begins at the range's start. */
  async mark(reservations: readonly NewReservation[]): Promise<void> {
    steps.publish({ at: 'mark' });
    const marks = reservations.map(({ ip, set }) =>
      writeFile(this.#path(`last_reserved_ip.${set}`), formatIP(ip), { mode: 0o600 }),
    );
    throwFirst(await Promise.allSettled(marks));
  }

  async remove(ip: IP): Promise<void> {
    steps.publish({ at: 'remove' });
    await this.#remove(formatIP(ip));
  }

  async readLast(set: number): Promise<IP | undefined> {
    try {
      return parseIP(await readFile(this.#path(`last_reserved_ip.${set}`), 'utf8'));
    } catch {
      // Missing or damaged: the next ADD begins at the range's start, as the original's does.
      return undefined;
    }
  }

  /** When a file was made or removed last, in nanoseconds. Read at once: a directory that is in use is in memory. */
  readMtime(): bigint {
    return statSync(this.#directory, { bigint: true }).mtimeNs;
  }

  /**
   * Gives the directory an mtime that it never had and that no later change can give it: one in the past, chosen at
   * random. The time of the last change would not do: two changes within one tick of the file system's clock share it.
   */
  async stampMtime(): Promise<bigint> {
    const secondsAgo = 1 + Math.random();
    const time = Date.now() / 1000 - secondsAgo;
    await utimes(this.#directory, time, time);
    return this.readMtime();
  }

  async #remove(name: string): Promise<void> {
    try {
      await unlink(this.#path(name));
    } catch (thrown) {
      if (!isSystemError(thrown, 'ENOENT')) throw thrown;
    }
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

/** The address that a file of this name reserves. A name that the Go plugin would write otherwise reserves none. */
export function reservedBy(name: string): IP | undefined {
  try {
    const ip = parseIP(name);
    return formatIP(ip) === name ? ip : undefined;
  } catch {
    return undefined;
  }
}

export function throwFirst(outcomes: readonly PromiseSettledResult<unknown>[]): void {
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

export function isSystemError(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code;
}
