import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Settings } from './settings.ts';

/** Milliseconds. Multus' own: what is installed beside it was chosen for them. */
const patience = { step: 1_000, limit: 45_000 };

/**
 * Waits for the file by which the default network says that it can be used, where the administrator names one.
 *
 * @throws {CniError} 11 when it is not there in time.
 */
export async function untilReady(
  { readinessindicatorfile: file }: Settings,
  { step, limit } = patience,
): Promise<void> {
  if (!file) return;
  const deadline = performance.now() + limit;
  while (!(await isThere(file))) {
    if (performance.now() >= deadline) {
      throw new CniError(
        ErrorCode.TryAgainLater,
        `the default network is not ready: readinessindicatorfile ${file} was not there within ${limit / 1000} s`,
        'the pods of the default network on this node write it; see why they have not',
      );
    }
    await sleep(step);
  }
}

/** @throws {CniError} 50 while the default network has not said that it can be used. */
export async function requireReady({ readinessindicatorfile: file }: Settings): Promise<void> {
  if (!file || (await isThere(file))) return;
  throw new CniError(
    ErrorCode.PluginNotAvailable,
    `the default network is not ready: readinessindicatorfile ${file} is not there`,
  );
}

function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
