import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isKernelError, KernelError } from '../../src/linux/errors.ts';
import { tryLockExclusive } from '../../src/linux/flock.ts';

test('every errno has its name; of two names for one, the one of the manual pages', () => {
  for (const [name, number] of Object.entries(constants.errno)) {
    const expected = { EWOULDBLOCK: 'EAGAIN', ENOTSUP: 'EOPNOTSUPP' }[name] ?? name;
    assert.equal(new KernelError('x', number).code, expected);
  }
  assert.equal(new KernelError('x', 4095).code, 'E4095');
});

test('an error says what was wanted, what the library calls the errno, and the words of the kernel', () => {
  assert.equal(new KernelError('create x', 17).message, 'create x: file exists');
  assert.equal(new KernelError('create x', 22, 'bad mode').message, 'create x: invalid argument (bad mode)');
});

test('an error is known by its codes', () => {
  const error = new KernelError('x', 17);
  assert.ok(isKernelError(error));
  assert.ok(isKernelError(error, 'ENOENT', 'EEXIST'));
  assert.ok(!isKernelError(error, 'ENOENT'));
  assert.ok(!isKernelError(Object.assign(new Error('x'), { code: 'EEXIST' }), 'EEXIST'));
});

test('a lock belongs to one open file, until that is closed', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'plx-lock-'));
  t.after(() => rm(directory, { recursive: true }));
  const path = join(directory, 'lock');
  const [one, two] = [await open(path, 'a'), await open(path, 'a')];
  t.after(() => two.close());
  assert.ok(tryLockExclusive(one.fd));
  assert.ok(tryLockExclusive(one.fd), 'again by who has it');
  assert.ok(!tryLockExclusive(two.fd));
  await one.close();
  assert.ok(tryLockExclusive(two.fd));
  assert.throws(() => tryLockExclusive(1_000_000), { name: 'KernelError', code: 'EBADF' });
});
