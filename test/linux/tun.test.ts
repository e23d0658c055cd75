import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKernelError } from '../../src/linux/errors.ts';
import { supportedKinds } from '../../src/linux/link-kind-support.ts';
import { createTap, createTapInContext, type NewTap } from '../../src/linux/tun.ts';
import { testNamespace } from '../support/namespace.ts';
import { ip, openFiles } from './support.ts';

const plain: NewTap = { name: 'tap0', multiQueue: false, owner: undefined, group: undefined };

const taps: readonly [what: string, tap: NewTap, info: object][] = [
  ['nothing set', plain, { multi_queue: false }],
  ['several queues', { ...plain, multiQueue: true }, { multi_queue: true }],
  ['an owner', { ...plain, owner: 4242 }, { user: 4242 }],
  ['the owner root', { ...plain, owner: 0 }, { user: 'root' }],
  ['a group', { ...plain, group: 4243 }, { group: 4243 }],
  ['a name of fifteen bytes', { ...plain, name: 'fifteen-bytes-1' }, { persist: true }],
];
for (const [what, tap, info] of taps) {
  test(`a tap with ${what} is what iproute2 sees`, async () => {
    await using home = await testNamespace();
    const files = openFiles();
    await createTap(home.namespace, tap);
    assert.deepEqual(openFiles(), files);
    const [link] = await ip(home.path, 'link', 'show', tap.name);
    assert.partialDeepStrictEqual(link, {
      ifname: tap.name,
      linkinfo: { info_kind: 'tun', info_data: { type: 'tap', pi: false, vnet_hdr: false, persist: true, ...info } },
    });
  });
}

test('a name that is taken is refused with EBUSY, and what has it stays as it is', async () => {
  await using home = await testNamespace();
  await createTap(home.namespace, plain);
  const before = await ip(home.path, 'link');
  const again = createTap(home.namespace, { ...plain, owner: 4242 });
  await assert.rejects(again, (error) => isKernelError(error, 'EBUSY') && /^create tap tap0: /.test(error.message));
  assert.deepEqual(await ip(home.path, 'link'), before);
});

test('an owner that the kernel refuses leaves no tap', async () => {
  await using home = await testNamespace();
  await assert.rejects(createTap(home.namespace, { ...plain, owner: 0xffffffff }), { code: 'EINVAL' });
  assert.equal((await ip(home.path, 'link')).length, 1);
});

test('a context that the kernel does not know is refused before anything is executed', async () => {
  await using home = await testNamespace();
  await assert.rejects(createTapInContext(home.namespace, plain, 'no:such:context'), {
    code: 'EINVAL',
    message: /^set the security context "no:such:context" of a program: invalid argument$/,
  });
  assert.equal((await ip(home.path, 'link')).length, 1);
});

test('a kernel that makes them by ioctl only says by netlink that it knows them', async () => {
  assert.deepEqual(await supportedKinds(['tun']), new Set(['tun']));
});
