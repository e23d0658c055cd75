import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
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
 * be lost to everything else. Opening an empty file that is opened all the time touches no disk, and is done at once.
 */
export class DirectoryLock implements Disposable {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * @throws {CniError} 11 when another process holds the lock for too long; the details name it.
   * @throws {Error} ENOENT when the directory does not exist.
   */
  static async acquire(directory: string, { timeout = 30_000 }: LockOptions = {}): Promise<DirectoryLock> {
    const path = join(directory, 'lock');
    const deadline = performance.now() + timeout;
    for (;;) {
      const fd = openSync(path, constants.O_CREAT | constants.O_RDONLY, 0o750);
      try {
        await lockBefore(fd, path, deadline);
        // Somebody may have removed the directory while we waited; the lock of a removed file keeps nobody out.
        if (fstatSync(fd).nlink > 0) return new DirectoryLock(fd);
      } catch (thrown) {
        closeSync(fd);
        throw thrown;
      }
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

async function lockBefore(fd: number, path: string, deadline: number): Promise<void> {
  while (!tryLockExclusive(fd)) {
    if (performance.now() >= deadline) {
      throw new CniError(
        ErrorCode.TryAgainLater,
        `${path} is locked by another process for too long`,
        await describeHolders(fd),
      );
    }
    await sleep(retryAfter);
  }
}

/** Who holds a flock on the file, from /proc/locks: `1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`. */
async function describeHolders(fd: number): Promise<string> {
  const { ino } = fstatSync(fd, { bigint: true });
  const locks = await readFile('/proc/locks', 'utf8');
  const pids = locks
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, kind, , , , inode]) => kind === 'FLOCK' && inode?.endsWith(`:${ino}`))
    .map(([, , , , pid]) => pid);
  return pids.length === 0 ? 'no process of this PID namespace holds it' : `held by process ${pids.join(', ')}`;
}
