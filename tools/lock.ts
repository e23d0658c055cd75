import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLockExclusive } from '../src/linux/flock.ts';

/** Milliseconds between attempts: what is waited for takes seconds. */
const retryAfter = 100;

/** Does work while no other process does work under the same lock. */
export async function locked<T>(path: string, work: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  await using file = await open(path, 'a');
  while (!tryLockExclusive(file.fd)) await sleep(retryAfter);
  return await work();
}
