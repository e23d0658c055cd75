import { channel } from 'node:diagnostics_channel';
import { constants } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeEntry, type Entry, encodeLine, type Plan, type Step } from './entry.ts';

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
    super(`journal entry ${path} cannot be read: ${reason}`, { cause });
    this.path = path;
  }
}

/**
 * What was planned and done for each sandbox, one file for each, so that DEL, CHECK and GC need nothing else. A plan is
 * on the disk, synced, before the first change to the kernel; each finished step is appended and synced.
 */
export class Journal {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Opens the journal in a directory of its own, made if need be. Plans that were never finished being written are removed. */
  static async open(directory: string): Promise<Journal> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(directory)) {
      if (name.endsWith(unfinished)) await unlink(join(directory, name));
    }
    return new Journal(directory);
  }

  /** Writes a plan. Once this resolves, a crash at any later moment leaves a plan that DEL can work from. */
  async begin(plan: Plan): Promise<Recording> {
    const path = this.#path(plan);
    steps.publish({ at: 'begin', path });
    const file = await open(path + unfinished, 'wx', 0o600);
    try {
      await file.writeFile(encodeLine(plan));
      await file.sync();
      await rename(path + unfinished, path);
      await this.#syncDirectory();
    } catch (error) {
      await file.close();
      await unlink(path + unfinished).catch(ignoreMissing);
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
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
    try {
      return decodeEntry(text);
    } catch (error) {
      throw new CorruptEntryError(path, error);
    }
  }

  /** Goes on recording steps of a plan that is there already. */
  async resume(key: Key): Promise<Recording> {
    const path = this.#path(key);
    const file = await open(path, constants.O_RDWR | constants.O_APPEND);
    await dropTornLine(file);
    return new Recording(file, path);
  }

  /** Forgets an attachment: all that it held has been released. */
  async remove(key: Key): Promise<void> {
    const path = this.#path(key);
    steps.publish({ at: 'remove', path });
    await unlink(path).catch(ignoreMissing);
    await this.#syncDirectory();
    steps.publish({ at: 'removed', path });
  }

  /** The keys of all attachments, in no order. */
  async list(): Promise<Key[]> {
    const names = await readdir(this.#directory);
    return names.flatMap((name) => {
      const at = name.indexOf(separator);
      if (at < 0 || name.endsWith(unfinished)) return [];
      return [{ containerId: name.slice(0, at), ifName: name.slice(at + separator.length) }];
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

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}

/** An open entry that steps are added to. */
export class Recording implements AsyncDisposable {
  readonly #file: Awaited<ReturnType<typeof open>>;
  readonly #path: string;

  constructor(file: Awaited<ReturnType<typeof open>>, path: string) {
    this.#file = file;
    this.#path = path;
  }

  async add(step: Step): Promise<void> {
    steps.publish({ at: step.step, path: this.#path });
    await this.#file.appendFile(encodeLine(step));
    await this.#file.datasync();
    steps.publish({ at: `${step.step}, synced`, path: this.#path });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Neither a container ID nor an interface name may hold a colon, so the two can be told apart again. */
const separator = ':';

/** Ends with a colon, which no entry's name does. */
const unfinished = '.unfinished:';

/** A step must not be appended to half of an earlier one. */
async function dropTornLine(file: Awaited<ReturnType<typeof open>>): Promise<void> {
  const text = await file.readFile('utf8');
  const end = text.lastIndexOf('\n') + 1;
  if (end < text.length) await file.truncate(Buffer.byteLength(text.slice(0, end)));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}
