import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { tryLockExclusive } from '../../linux/flock.ts';

/** Milliseconds between attempts. Who else takes the lock holds it for some milliseconds. */
const retryAfter = 2;

export interface LockOptions {
  /** Milliseconds to wait for another process. */
  readonly timeout?: number;
}

/**
 * The lock that every host-local takes on a network's directory, the Go plugin included: flock on its file `lock`.
 *
 * It is asked for without waiting, again and again: a thread that waits inside the kernel for a process that hangs would
 * be lost to everything else.
 */
export class DirectoryLock implements AsyncDisposable {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /**
   * @throws {CniError} 11 when another process holds the lock for too long; the message names it.
   * @throws {Error} ENOENT when the directory does not exist.
   */
  static async acquire(directory: string, { timeout = 30_000 }: LockOptions = {}): Promise<DirectoryLock> {
    const path = join(directory, 'lock');
    const deadline = performance.now() + timeout;
    for (;;) {
      const file = await open(path, constants.O_CREAT | constants.O_RDONLY, 0o750);
      try {
        await lockBefore(file, path, deadline);
        // Somebody may have removed the directory while we waited; the lock of a removed file keeps nobody out.
        if ((await file.stat()).nlink > 0) return new DirectoryLock(file);
      } catch (thrown) {
        await file.close();
        throw thrown;
      }
      await file.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

async function lockBefore(file: FileHandle, path: string, deadline: number): Promise<void> {
  while (!tryLockExclusive(file.fd)) {
    if (performance.now() >= deadline) {
      throw new CniError(
        ErrorCode.TryAgainLater,
        `${path} is locked by another process for too long`,
        await describeHolders(file),
      );
    }
    await sleep(retryAfter);
  }
}

/** Who holds a flock on the file, from /proc/locks: `1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`. */
async function describeHolders(file: FileHandle): Promise<string> {
  const { ino } = await file.stat({ bigint: true });
  const locks = await readFile('/proc/locks', 'utf8');
  const pids = locks
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, kind, , , , inode]) => kind === 'FLOCK' && inode?.endsWith(`:${ino}`))
    .map(([, , , , pid]) => pid);
  return pids.length === 0 ? 'no process of this PID namespace holds it' : `held by process ${pids.join(', ')}`;
}
