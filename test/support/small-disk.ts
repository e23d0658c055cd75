import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
}

/** A directory on a disk of its own, of 64 KB. */
export async function smallDisk(): Promise<SmallDisk> {
  const path = await mkdtemp(join(tmpdir(), 'plx-disk-'));
  await execute('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'plx-disk', path]);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await execute('umount', ['--lazy', path]);
      await rm(path, { recursive: true });
    },
  };
}
