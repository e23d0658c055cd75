import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isUnfinished, removeFile, writeAtomically } from '../../src/linux/atomic-file.ts';
import { testDirectory } from '../support/directory.ts';

test('a file is made, and replaced, with the mode that it is to have', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'a');
  for (const content of ['first', 'second and longer', 'third']) {
    await writeAtomically(path, content);
    assert.equal(await readFile(path, 'utf8'), content);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  }
  assert.deepEqual(await readdir(directory.path), ['a']);
});

test('what a process that was killed left unfinished stops nobody', async () => {
  await using directory = await testDirectory();
  const path = join(directory.path, 'a');
  const left = `${path}.plexus-unfinished`;
  assert.ok(isUnfinished(left));
  await writeFile(left, 'half of', { mode: 0o644 });
  await writeAtomically(path, 'whole');
  assert.equal(await readFile(path, 'utf8'), 'whole');
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(directory.path), ['a']);
});

test('a failure leaves nothing, and is that of the disk', async () => {
  await using directory = await testDirectory();
  await assert.rejects(writeAtomically(join(directory.path, 'none/a'), ''), { code: 'ENOENT' });
  await mkdir(join(directory.path, 'b'));
  await assert.rejects(writeAtomically(join(directory.path, 'b'), ''), { code: 'EISDIR' });
  assert.deepEqual(await readdir(directory.path), ['b']);
  for (const _ of [1, 2]) await removeFile(join(directory.path, 'a'));
});
