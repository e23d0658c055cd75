import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { readSysctl, writeSysctl, writeSysctlIfAny } from '../../src/linux/sysctl.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, openFiles } from './support.ts';

test('a sysctl is written and read in its own namespace alone', async () => {
  await using one = await testNamespace();
  await using two = await testNamespace();
  const name = ['ipv4', 'ip_forward'] as const;
  const host = await readSysctl(NetworkNamespace.host(), ...name);
  await writeSysctl(one.namespace, 1, ...name);
  await writeSysctl(two.namespace, '0', ...name);
  assert.deepEqual(await Promise.all([one, two, one].map(({ namespace }) => readSysctl(namespace, ...name))), [
    '1',
    '0',
    '1',
  ]);
  assert.equal(await readSysctl(NetworkNamespace.host(), ...name), host);
});

test('an interface is known by its sysctls in its own namespace, also with dots in its name', async () => {
  await using one = await testNamespace();
  await using two = await testNamespace();
  using netlink = Rtnetlink.open(one.namespace);
  await create(netlink, 'net1.100', { type: 'ifb' });
  const name = ['ipv4', 'conf', 'net1.100', 'arp_notify'] as const;
  await writeSysctl(one.namespace, 1, ...name);
  assert.equal(await readSysctl(one.namespace, ...name), '1');
  await assert.rejects(readSysctl(two.namespace, ...name), { code: 'ENOENT' });
});

test('what is missing, refused or no name is told apart, and no file stays open', async () => {
  await using home = await testNamespace();
  const before = openFiles();
  await assert.rejects(writeSysctl(home.namespace, 1, 'ipv4', 'none'), { code: 'ENOENT' });
  await writeSysctlIfAny(home.namespace, 1, 'ipv4', 'none');
  await assert.rejects(writeSysctl(home.namespace, 'many', 'ipv4', 'ip_forward'), { code: 'EINVAL' });
  await assert.rejects(writeSysctlIfAny(home.namespace, 'many', 'ipv4', 'ip_forward'), { code: 'EINVAL' });
  for (const part of ['', '.', '..', '../../kernel/hostname', 'conf/all']) {
    await assert.rejects(writeSysctl(home.namespace, 1, 'ipv4', part), /cannot be part of a sysctl's name/);
    await assert.rejects(readSysctl(home.namespace, part, 'ip_forward'), /cannot be part of a sysctl's name/);
  }
  await assert.rejects(readSysctl(home.namespace, 'ipv4', 'ip_forward\0'));
  assert.deepEqual(openFiles(), before);
});
