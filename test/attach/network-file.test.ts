import assert from 'node:assert/strict';
import { mkdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readNetworkFile } from '../../src/attach/network-file.ts';
import { testDirectory } from '../support/directory.ts';

const config = (name: string): string => JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'bridge' }] });

/** A file that was changed long enough ago to be remembered, and has been read. */
async function settledFile() {
  const directory = await testDirectory();
  const path = join(directory.path, '10-a.conflist');
  await writeFile(path, config('net-a'));
  await sleep(1_100);
  const first = await readNetworkFile(path);
  assert.equal(await readNetworkFile(path), first, 'it is not read again');
  return { directory: directory.path, path, first, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

test('a file that is written over in place is read again, with the same length and its old time too', async () => {
  await using it = await settledFile();
  const { atime, mtime } = await stat(it.path);
  await writeFile(it.path, config('net-b'));
  await utimes(it.path, atime, mtime);
  assert.equal((await readNetworkFile(it.path))?.name, 'net-b');
  await writeFile(it.path, config('net-c'));
  assert.equal((await readNetworkFile(it.path))?.name, 'net-c');
});

test('a file that another takes the place of is read again, and one that is gone is missed', async () => {
  await using it = await settledFile();
  await writeFile(`${it.path}.new`, config('net-b'));
  await rename(`${it.path}.new`, it.path);
  assert.equal((await readNetworkFile(it.path))?.name, 'net-b');
  await rm(it.path);
  await assert.rejects(readNetworkFile(it.path), { code: 'ENOENT' });
});

test('plugins that others add are found when they come, and are gone when they go', async () => {
  await using it = await settledFile();
  const added = join(it.directory, 'net-a');
  await mkdir(added);
  await writeFile(join(added, 'more.conf'), '{"type":"tuning"}');
  for (let read = 1; read <= 2; read++) assert.match((await readNetworkFile(it.path))?.config ?? '', /"tuning"/);
  await rm(added, { recursive: true });
  assert.deepEqual(await readNetworkFile(it.path), it.first);
});
