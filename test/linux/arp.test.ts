import assert from 'node:assert/strict';
import { test } from 'node:test';
import { announceAddress } from '../../src/linux/arp.ts';
import { isKernelError } from '../../src/linux/errors.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { parseIP } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ip, ipChange } from './support.ts';

test('neighbours learn who has an address that is announced, and that another has it by now', async () => {
  await using own = await testNamespace();
  using netlink = Rtnetlink.open(own.namespace);
  await create(netlink, 'near', { type: 'veth', peer: { name: 'far' } });
  await ipChange(own.path, 'link', 'set', 'far', 'up');
  await ipChange(own.path, 'address', 'add', '10.1.2.1/24', 'dev', 'far');
  await writeSysctl(own.namespace, 1, 'ipv4', 'conf', 'far', 'arp_accept');
  // Within its lock time a neighbour keeps to what it has heard first (arp(7)).
  await writeSysctl(own.namespace, 0, 'ipv4', 'neigh', 'far', 'locktime');
  const [link] = await netlink.run(links.get({ name: 'near' }));
  const address = parseIP('10.1.2.2');
  for (const mac of [link.mac, '02:00:5e:00:00:07']) {
    announceAddress(own.namespace, link.index, mac, address);
    const [entry] = await ip(own.path, 'neighbour', 'show', '10.1.2.2', 'dev', 'far');
    assert.equal(entry?.['lladdr'], mac);
  }
});

test('an interface that is down announces nothing', async () => {
  await using own = await testNamespace();
  using netlink = Rtnetlink.open(own.namespace);
  const link = await create(netlink, 'near', { type: 'veth', peer: { name: 'far' } }, false);
  assert.throws(
    () => announceAddress(own.namespace, link.index, link.mac, parseIP('10.1.2.2')),
    (error) => isKernelError(error, 'ENETDOWN'),
  );
});
