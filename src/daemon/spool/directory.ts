import { constants, type Stats } from 'node:fs';
import { chmod, lstat, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { tryLockExclusive } from '../../linux/flock.ts';

/** Where the shim leaves requests unless told otherwise (shim/settings.c). */
export const defaultSpoolDir = '/var/lib/plexus/spool';

/** The spool of a daemon, as the daemon sees it. */
export const spoolDirectory = ({ stateDir }: { readonly stateDir: string }): string => join(stateDir, 'spool');

/** A request that the shim left, by its file's name. */
export interface Waiting {
  readonly file: string;
  readonly command: 'ADD' | 'DEL';
  /** The name that the shim was called under. */
  readonly plugin: string;
  readonly containerId: string;
  readonly ifName: string;
}

/** What is in the directory. */
export interface Contents {
  readonly waiting: readonly Waiting[];
  /** Names of the files that made no sense, and were set aside. */
  readonly setAside: readonly string[];
}

/** What was read of a file; `inode` tells it from one that took its place. */
export interface Content {
  readonly bytes: Buffer;
  readonly inode: number;
  /** When it was left. */
  readonly since: Date;
}

export interface LockedContent extends AsyncDisposable {
  readonly content: Content;
}

/** Milliseconds after which nobody goes on writing a file that was begun. */
const abandonedMs = 3_600_000;

/** Names that shim/spool.c gives to what it has not finished. */
const isUnfinished = (name: string): boolean => name.startsWith('.unfinished-');

const setAside = '.corrupt';

/** The directory in which requests wait that the shim had no daemon for: shim/spool.c is the other end. */
export class SpoolDirectory {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes the directory where need be. What was abandoned half-written is removed: its shim was killed, and the runtime told
   * nothing.
   *
   * @throws {Error} when it is another user's.
   */
  static async open(path: string): Promise<SpoolDirectory> {
    const made = await mkdir(path, { recursive: true, mode: 0o700 });
    if (made !== undefined) await syncDirectories(resolve(path), dirname(resolve(made)));
    const about = await lstat(path);
    if (!about.isDirectory() || about.uid !== process.getuid?.()) {
      throw new Error(`stateDir: expected a directory of user ${process.getuid?.()} at ${path}, found something else`);
    }
    if ((about.mode & 0o077) !== 0) await chmod(path, 0o700);
    for (const name of (await readdir(path)).filter(isUnfinished)) {
      const found = await stat(join(path, name)).catch(ignoreMissing);
      if (found !== undefined && Date.now() - found.mtimeMs > abandonedMs) await unlink(join(path, name));
    }
    return new SpoolDirectory(path);
  }

  /** A directory to look into: nothing is made and nothing removed. What is not there is empty. */
  static look(path: string): SpoolDirectory {
    return new SpoolDirectory(path);
  }

  async list(): Promise<Contents> {
    const names = ((await readdir(this.path).catch(ignoreMissing)) ?? []).toSorted();
    return { waiting: names.flatMap(waitingOf), setAside: names.filter((name) => name.endsWith(setAside)) };
  }

  /** @returns undefined when it is there no more. */
  async read({ file }: Waiting): Promise<Content | undefined> {
    await using opened = await open(join(this.path, file), constants.O_RDONLY | constants.O_NOFOLLOW).catch(
      ignoreMissing,
    );
    if (opened === undefined) return undefined;
    const { ino: inode, mtime: since } = await opened.stat();
    return { bytes: await opened.readFile(), inode, since };
  }

  /**
   * Reads a file and keeps others from it until it is disposed of.
   *
   * @returns `locked` while its shim is at work; undefined when it is there no more.
   */
  async openLocked({ file }: Waiting): Promise<LockedContent | 'locked' | undefined> {
    const opened = await open(join(this.path, file), constants.O_RDONLY | constants.O_NOFOLLOW).catch(ignoreMissing);
    if (opened === undefined) return undefined;
    try {
      if (!tryLockExclusive(opened.fd)) {
        await opened.close();
        return 'locked';
      }
      const { ino: inode, mtime: since } = await opened.stat();
      const content = { bytes: await opened.readFile(), inode, since };
      return { content, [Symbol.asyncDispose]: () => opened.close() };
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /**
   * Forgets a request that was carried out.
   *
   * @param inode Of the file that was read: one that took its place meanwhile stays.
   */
  async remove({ file }: Waiting, inode: number): Promise<void> {
    const path = join(this.path, file);
    const about: Stats | undefined = await lstat(path).catch(ignoreMissing);
    if (about?.ino !== inode) return;
    await unlink(path);
    await syncDirectory(this.path);
  }

  /** Keeps what makes no sense for a person to look at. @returns Its path. */
  async setAside({ file }: Waiting): Promise<string> {
    const path = join(this.path, file + setAside);
    await rename(join(this.path, file), path);
    await syncDirectory(this.path);
    return path;
  }
}

function waitingOf(file: string): Waiting[] {
  const [plugin, containerId, ifName, kind = '', ...more] = file.split(':');
  if (!plugin || !containerId || !ifName || more.length > 0) return [];
  if (kind === 'add') return [{ file, command: 'ADD', plugin, containerId, ifName }];
  return /^[0-9a-f]{16}$/.test(kind) ? [{ file, command: 'DEL', plugin, containerId, ifName }] : [];
}

/** From a directory up to one above it: of a directory that a crash takes away, the synced files go along. */
async function syncDirectories(from: string, to: string): Promise<void> {
  await syncDirectory(from);
  if (from !== to) await syncDirectories(dirname(from), to);
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await directory.sync();
}

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
}
