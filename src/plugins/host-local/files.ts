import { channel } from 'node:diagnostics_channel';
import { constants } from 'node:fs';
import { link, readdir, readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { formatIP, type IP, parseIP } from '../../net/ip.ts';
import { type Reservation, Reservations } from './reservations.ts';

/** Told before each change on disk. Tests end the process here to show that every step can be recovered from. */
const steps = channel('plexus:host-local');

/** Files read at once when a directory is read in. */
const readsAtOnce = 64;

/** Not addresses, so that the Go plugin's search for a container's addresses passes over them. */
const temporaryReservation = '.reservation.tmp';
const temporaryLast = (set: number): string => `.last_reserved_ip.${set}.tmp`;

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
      return { ip, owner: (await readFile(this.#path(name), 'utf8')).trim() };
    } catch {
      // What cannot be read, such as a directory, still keeps its address from being given away.
      return { ip, owner: '' };
    }
  }

  /**
   * Gives addresses to an owner, all or none.
   *
   * A reservation appears whole or not at all: its content is written and synced under another name, then linked to its
   * own, which fails where the name exists. A power cut cannot leave an empty file that no DEL would ever match. The
   * directory itself is not synced: what a power cut takes back belonged to sandboxes that it ended as well.
   *
   * {@link tidy} is to follow, for which nobody need wait.
   */
  async create(reservations: readonly NewReservation[], owner: string): Promise<void> {
    const linked: string[] = [];
    steps.publish({ at: 'write' });
    try {
      await this.#writeTemporary(owner);
      steps.publish({ at: 'link' });
      const links = reservations.map(async ({ ip }) => {
        const name = formatIP(ip);
        await link(this.#path(temporaryReservation), this.#path(name));
        linked.push(name);
      });
      throwFirst(await Promise.allSettled(links));
    } catch (thrown) {
      await Promise.allSettled([...linked, temporaryReservation].map((name) => this.#remove(name)));
      throw thrown;
    }
  }

  /** Notes which address each range set gave away last, and removes what {@link create} left. */
  async tidy(reservations: readonly NewReservation[]): Promise<void> {
    steps.publish({ at: 'tidy' });
    const marks = reservations.map(async ({ ip, set }) => {
      const temporary = this.#path(temporaryLast(set));
      await writeFile(temporary, formatIP(ip), { mode: 0o600 });
      await rename(temporary, this.#path(`last_reserved_ip.${set}`));
    });
    throwFirst(await Promise.allSettled([...marks, this.#remove(temporaryReservation)]));
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

  /** When a file was made or removed last, in nanoseconds. */
  async readMtime(): Promise<bigint> {
    return (await stat(this.#directory, { bigint: true })).mtimeNs;
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
function reservedBy(name: string): IP | undefined {
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
