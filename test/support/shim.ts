import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const root = resolve(import.meta.dirname, '../..');

/** Builds a shim that ends at the step that PLEXUS_KILL_AT_STEP numbers. @returns Its path. */
export async function buildSteppingShim(): Promise<string> {
  const path = join(root, 'build/plexus-steps');
  await promisify(execFile)('make', ['-C', join(root, 'shim'), 'STEPS=1', `OUT=${path}`]);
  return path;
}

/** Builds the shim where it is not up to date. @returns Its path. */
export async function buildShim(): Promise<string> {
  await promisify(execFile)('make', ['-C', join(root, 'shim')]);
  return join(root, 'build/plexus');
}
