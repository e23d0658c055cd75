import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const root = resolve(import.meta.dirname, '../..');

/** Builds the shim where it is not up to date. @returns Its path. */
export async function buildShim(): Promise<string> {
  await promisify(execFile)('make', ['-C', join(root, 'shim')]);
  return join(root, 'build/plexus');
}
