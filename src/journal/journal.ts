import { isUtf8 } from 'node:buffer';
import { channel } from 'node:diagnostics_channel';
import { closeSync, constants, fsync, openSync } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, readFile, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { decodeEntry, type Entry, encodeLine, type Plan, type Step } from './entry.ts';

const syncFile = promisify(fsync);

/** Told before and after each change on disk. Tests end the process here to show that every step can be recovered from. */
const steps = channel('plexus:journal');

/** One attachment of a runtime: a sandbox has one for each CNI_IFNAME it was added with. */
export interface Key {
  readonly containerId: string;
  readonly ifName: string;
}

/** A file of the journal that cannot be understood. What it stood for may still be held, so nobody may pass over it. */
export class CorruptEntryError extends Error {
  override readonly name = 'CorruptEntryError';
  readonly path: string;

  constructor(path: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`journal entry ${path} cannot be read: ${reason}; release by hand what it names, then remove the file`, {
      cause,
    });
    this.path = path;
  }
}

/**
 * What was planned and done for each sandbox, one file for each, so that DEL, CHECK and GC need nothing else. A plan is
 * on the disk, synced, before the first change to the kernel; each finished step is appended, and all of an ADD's are synced
 * before it is answered.
 */
export class Journal {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Opens the journal in a directory of its own, made if need be. Plans that were never finished being written are
   * removed, so nobody else may have the journal open.
   */
  static async open(directory: string): Promise<Journal> {
    const made = await mkdir(directory, { recursive: true, mode: 0o700 });
    // Of a directory that a crash takes away, the synced files go along.
    if (made !== undefined) await syncDirectories(resolve(directory), dirname(resolve(made)));
    for (const name of await readdir(directory)) {
      if (name.endsWith(unfinished)) await unlink(join(directory, name));
    }
    return new Journal(directory);
  }

  /**
   * A journal to read in: nothing is made and nothing removed, and a daemon may have it open.
   *
   * @param directory What is not there has no entries to list: that is an error of {@link list}, ENOENT.
   */
  static look(directory: string): Journal {
    return new Journal(directory);
  }

  /**
   * Writes a plan. Once this resolves, a crash at any later moment leaves a plan that DEL can work from.
   *
   * @throws {Error} EEXIST when there is an entry, for what that one holds must be released first; whatever else the disk
   *   refuses. Nothing is left then.
   */
  async begin(plan: Plan): Promise<Recording> {
    const path = this.#path(plan);
    steps.publish({ at: 'begin', path });
    const file = await open(path + unfinished, 'ax+', 0o600);
    try {
      await file.appendFile(encodeLine(plan));
      await file.sync();
      // Unlike rename(2), link(2) leaves alone an entry that is there.
      await link(path + unfinished, path);
    } catch (error) {
      await file.close();
      await unlink(path + unfinished).catch(ignoreMissing);
      throw error;
    }
    try {
      // That the other name is gone need not be on the disk: what has it is removed at the start.
      await Promise.all([unlink(path + unfinished), syncDirectory(this.#directory)]);
    } catch (error) {
      await file.close();
      await unlink(path).catch(ignoreMissing);
      throw error;
    }
    steps.publish({ at: 'begun', path });
    return new Recording(file, path);
  }

  /**
   * What is known of one attachment.
   *
   * @returns undefined when nothing was ever planned, or everything was released.
   * @throws {CorruptEntryError}
   */
  async read(key: Key): Promise<Entry | undefined> {
    const path = this.#path(key);
    let data: Buffer;
    try {
      data = await readFile(path);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    try {
      const entry = decodeEntry(textOf(data));
      const { containerId, ifName } = entry.plan;
      if (containerId === key.containerId && ifName === key.ifName) return entry;
      throw new Error(`it is the entry of container ${containerId}, interface ${ifName}`);
    } catch (error) {
      throw new CorruptEntryError(path, error);
    }
  }

  /** Goes on recording steps of a plan that is there already. @throws {Error} ENOENT when there is none. */
  async resume(key: Key): Promise<Recording> {
    const path = this.#path(key);
    const file = await open(path, constants.O_RDWR | constants.O_APPEND);
    try {
      await dropTornLine(file);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new Recording(file, path);
  }

  /** Forgets an attachment: all that it held has been released. */
  async remove(key: Key): Promise<void> {
    const path = this.#path(key);
    steps.publish({ at: 'remove', path });
    await unlink(path).catch(ignoreMissing);
    await syncDirectory(this.#directory);
    steps.publish({ at: 'removed', path });
  }

  /** The keys of all attachments, in no order. */
  async list(): Promise<Key[]> {
    const names = await readdir(this.#directory);
    return names.flatMap((name) => {
      const [containerId, ifName, ...more] = name.split(separator);
      return containerId && ifName && more.length === 0 ? [{ containerId, ifName }] : [];
    });
  }

  #path(key: Key): string {
    for (const part of [key.containerId, key.ifName]) {
      if (part === '' || part.includes('/') || part.includes(separator)) {
        throw new Error(`"${part}" cannot be part of a journal entry's name`);
      }
    }
    return join(this.#directory, `${key.containerId}${separator}${key.ifName}`);
  }
}

/** An open entry that steps are added to. */
export class Recording implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #path: string;
  #torn = false;

  constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  /**
   * Adds a step, which is on the disk once this resolves. Where the disk has no room for it, the steps before stay as they
   * are, and later ones can be added.
   */
  async add(step: Step): Promise<void> {
    await this.note(step);
    await this.sync();
    steps.publish({ at: `${step.step}, synced`, path: this.#path });
  }

  /**
   * Adds a step as {@link add} does, which a power cut may take away until the next {@link sync}; the end of this process
   * does not.
   */
  async note(step: Step): Promise<void> {
    steps.publish({ at: step.step, path: this.#path });
    if (this.#torn) await dropTornLine(this.#file);
    this.#torn = true;
    await this.#file.appendFile(encodeLine(step));
    this.#torn = false;
    steps.publish({ at: `${step.step}, noted`, path: this.#path });
  }

  /** Waits until all steps are on the disk. */
  async sync(): Promise<void> {
    await this.#file.datasync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Neither a container ID nor an interface name may hold a colon, so the two can be told apart again. */
const separator = ':';

/** Ends with a colon, which no entry's name does. */
const unfinished = '.unfinished:';

/** The whole lines. In half a line there may be half a character. @throws {Error} when they are no text. */
function textOf(data: Buffer): string {
  const lines = data.subarray(0, data.lastIndexOf('\n') + 1);
  if (!isUtf8(lines)) throw new Error('it is no UTF-8');
  return lines.toString();
}

/** A step must not be appended to half of an earlier one. */
async function dropTornLine(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  const data = Buffer.alloc(size);
  const { bytesRead } = await file.read(data, 0, size, 0);
  const end = data.subarray(0, bytesRead).lastIndexOf('\n') + 1;
  if (end < size) await file.truncate(end);
}

/** From a directory up to one above it. */
async function syncDirectories(from: string, to: string): Promise<void> {
  await syncDirectory(from);
  if (from !== to) await syncDirectories(dirname(from), to);
}

/** A directory that is in use is in memory: to open it touches no disk, and is done at once. */
async function syncDirectory(path: string): Promise<void> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await syncFile(fd);
  } finally {
    closeSync(fd);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}
