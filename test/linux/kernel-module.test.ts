import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { moduleState } from '../../src/linux/kernel-module.ts';
import { supportedKinds } from '../../src/linux/link-kind-support.ts';
import { testNamespace } from '../support/namespace.ts';
import { openFiles } from './support.ts';

let root: string;

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'plx-modules-'));
  await mkdir(join(root, 'lib', '6.1.0'), { recursive: true });
  await mkdir(join(root, 'proc'));
  await writeFile(
    join(root, 'proc', 'modules'),
    'macvlan 28672 1 macvtap, Live 0x0000000000000000\nnf_nat 1 0 - Live 0x0\n',
  );
  await writeFile(
    join(root, 'lib', '6.1.0', 'modules.builtin'),
    'kernel/net/bridge/bridge.ko\nkernel/lib/crc-ccitt.ko\n',
  );
  await writeFile(
    join(root, 'lib', '6.1.0', 'modules.dep'),
    'kernel/drivers/net/ipvlan/ipvlan.ko.xz: kernel/net/l3mdev/l3mdev.ko.xz\nkernel/drivers/vfio/vfio-pci.ko:\n',
  );
});

after(() => rm(root, { recursive: true }));

test('a module is loaded, built in, to be had, missing, or not known', async () => {
  const places = { proc: join(root, 'proc'), modules: join(root, 'lib'), release: '6.1.0' };
  for (const [name, state] of [
    ['macvlan', 'loaded'],
    ['nf-nat', 'loaded'],
    ['macvtap', 'missing'],
    ['bridge', 'built in'],
    ['crc_ccitt', 'built in'],
    ['ipvlan', 'can be loaded'],
    ['vfio_pci', 'can be loaded'],
    ['l3mdev', 'missing'],
    ['vlan', 'missing'],
    ['', 'missing'],
  ] as const) {
    assert.equal(await moduleState(name, places), state, name);
  }
  assert.equal(await moduleState('ipvlan', { ...places, release: '6.2.0' }), 'unknown');
  assert.equal(await moduleState('macvlan', { ...places, release: '6.2.0' }), 'loaded');
  assert.equal(await moduleState('bridge', { ...places, proc: join(root, 'none') }), 'built in');
});

test('the kinds of link that the kernel has are those that iproute2 does not find unknown', async () => {
  await using home = await testNamespace();
  const kinds = ['veth', 'bridge', 'macvlan', 'macvtap', 'ipvlan', 'vlan', 'vxlan', 'vrf', 'dummy', 'ifb'] as const;
  const namespace = await readlink('/proc/thread-self/ns/net');
  const before = openFiles();
  const supported = await supportedKinds(kinds);
  assert.equal(await readlink('/proc/thread-self/ns/net'), namespace);
  await new Promise(setImmediate);
  assert.deepEqual(openFiles(), before);
  assert.ok(supported.has('veth') && supported.has('bridge'));
  for (const kind of kinds) {
    const args = [`--net=${home.path}`, 'ip', 'link', 'add', 'name', `x-${kind}`, 'type', kind];
    const said = await new Promise<string>((resolve) => execFile('nsenter', args, (_, __, stderr) => resolve(stderr)));
    assert.equal(supported.has(kind), !/Unknown device type|not supported/.test(said), `${kind}: ${said}`);
  }
});
