import koffi from 'koffi';
import { libc } from './c-library.ts';
import { KernelError } from './errors.ts';

/** flock(2), <sys/file.h>. */
const LOCK_EX = 2;
const LOCK_NB = 4;

const { EINTR, EWOULDBLOCK } = koffi.os.errno;

const flock = libc.func('int flock(int fd, int operation)');

/**
 * Takes the exclusive lock of an open file, if nobody else has it. Never waits. The lock ends with the file description:
 * when it is closed, at the latest with the process. Two descriptions exclude each other even within one process.
 *
 * @param fd A file of any kind and mode.
 * @returns Whether the lock is held now.
 * @throws {KernelError} for anything but a lock held by somebody else (flock(2): ENOLCK, EBADF).
 */
export function tryLockExclusive(fd: number): boolean {
  for (;;) {
    const result: number = flock(fd, LOCK_EX | LOCK_NB);
    if (result === 0) return true;
    const errno = koffi.errno();
    if (errno === EWOULDBLOCK) return false;
    if (errno !== EINTR) throw new KernelError('lock a file', errno);
  }
}
