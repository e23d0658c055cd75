import { type FileHandle, open } from 'node:fs/promises';
import { tryLockExclusive } from '../linux/flock.ts';

/** Another process has it. */
export class InUseError extends Error {
  override readonly name = 'InUseError';
}

/**
 * Keeps something for one process: whoever holds the lock of the file has it. The lock ends with the process, however
 * that ends. The file stays: removing it would let two processes hold two files of one name.
 *
 * @param path The lock file, made if need be. It holds the process's number for those who come second.
 * @param what What is kept, as the message begins.
 * @throws {InUseError} naming the process that holds it.
 */
export async function lockFile(path: string, what: string): Promise<AsyncDisposable> {
  const file = await open(path, 'a+', 0o600);
  try {
    if (!tryLockExclusive(file.fd)) {
      const holder = (await file.readFile('utf8')).trim();
      throw new InUseError(`${what} is in use by process ${holder || '(not yet named)'}, another Plexus daemon`);
    }
    await file.truncate();
    await file.write(`${process.pid}\n`);
  } catch (error) {
    await file.close();
    throw error;
  }
  return held(file);
}

function held(file: FileHandle): AsyncDisposable {
  return { [Symbol.asyncDispose]: () => file.close() };
}
