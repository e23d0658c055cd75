import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addresses, type NewAddress } from '../../src/linux/address.ts';
import { links } from '../../src/linux/link.ts';
import { Scope } from '../../src/linux/route.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { formatPrefix, parseIP, parsePrefix } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ip, ipChange } from './support.ts';

const cases: readonly {
  readonly title: string;
  readonly address: Omit<NewAddress, 'index'>;
  readonly shown: object;
  readonly hidden?: readonly string[];
}[] = [
  {
    title: 'IPv4 with the broadcast address of its network',
    address: { address: parsePrefix('100.64.30.10/19') },
    shown: { family: 'inet', local: '100.64.30.10', prefixlen: 19, broadcast: '100.64.31.255', scope: 'global' },
  },
  {
    title: 'IPv4 of a network of four addresses',
    address: { address: parsePrefix('10.0.0.1/30') },
    shown: { local: '10.0.0.1', prefixlen: 30, broadcast: '10.0.0.3' },
  },
  {
    title: 'IPv4 of a network too small for a broadcast address',
    address: { address: parsePrefix('10.0.0.1/31') },
    shown: { local: '10.0.0.1', prefixlen: 31 },
    hidden: ['broadcast'],
  },
  {
    title: 'IPv4 of one address',
    address: { address: parsePrefix('10.20.139.27/32') },
    shown: { local: '10.20.139.27', prefixlen: 32 },
    hidden: ['broadcast', 'address'],
  },
  {
    title: 'IPv4 with a broadcast address and a scope of its own',
    address: { address: parsePrefix('10.0.0.1/24'), broadcast: parseIP('10.0.0.254'), scope: Scope.link },
    shown: { local: '10.0.0.1', broadcast: '10.0.0.254', scope: 'link' },
  },
  {
    title: 'IPv6, whose uniqueness is being looked into',
    address: { address: parsePrefix('fd00::1/64') },
    shown: { family: 'inet6', local: 'fd00::1', prefixlen: 64, scope: 'global', tentative: true },
  },
  {
    title: 'IPv6, usable at once',
    address: { address: parsePrefix('fd00::2/128'), noDad: true },
    shown: { local: 'fd00::2', prefixlen: 128, nodad: true },
    hidden: ['tentative'],
  },
];

for (const { title, address, shown, hidden = [] } of cases) {
  test(`an address is what iproute2 sees, and what is read back: ${title}`, async () => {
    await using home = await testNamespace();
    using netlink = Rtnetlink.open(home.namespace);
    const { index } = await create(netlink, 'net1', { type: 'veth', peer: { name: 'net1p' } });
    const [peer] = await netlink.run(links.get({ name: 'net1p' }));
    await netlink.run(links.change(peer.index, { up: true }), addresses.add({ index, ...address }));
    const [{ addr_info: infos } = assert.fail()] = await ip(home.path, 'address', 'show', 'dev', 'net1');
    assert.ok(Array.isArray(infos));
    const { family } = address.address.ip;
    const seen = infos.find((info) => formatPrefix(address.address) === `${info.local}/${info.prefixlen}`);
    assert.partialDeepStrictEqual(seen, shown);
    for (const key of hidden) assert.ok(!(key in seen), `${key} ${seen[key]}`);

    const [found] = await netlink.run(addresses.list({ index, family }));
    const read = found.find((each) => formatPrefix(each.address) === formatPrefix(address.address));
    assert.partialDeepStrictEqual(read, { index, scope: address.scope ?? Scope.universe, duplicate: false });
    assert.equal(read?.tentative, 'tentative' in seen);
    const [again, removed, missing] = await netlink.settle(
      addresses.add({ index, ...address }),
      addresses.delete({ index, address: address.address }),
      addresses.delete({ index, address: address.address }),
    );
    assert.ok(again?.ok === false && again.error.code === 'EEXIST');
    assert.ok(removed?.ok);
    assert.ok(missing?.ok === false && missing.error.code === 'EADDRNOTAVAIL');
    assert.equal(
      missing.error.operation,
      `delete address ${formatPrefix(address.address)} on interface number ${index}`,
    );
  });
}

test('an address is set anew where it is', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const address = parsePrefix('fd00::3/64');
  await netlink.run(addresses.replace({ index: 1, address }), addresses.replace({ index: 1, address, noDad: true }));
  const [found] = await netlink.run(addresses.list({ index: 1, family: 6 }));
  assert.equal(found.length, 1);
});

test('of a point-to-point interface, its own end is read', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const { index } = await create(netlink, 'net1', { type: 'ifb' });
  await ipChange(home.path, 'address', 'add', '10.0.0.1', 'peer', '10.9.0.2/32', 'dev', 'net1');
  await ipChange(home.path, 'address', 'add', 'fd00::1', 'peer', 'fd99::2/128', 'dev', 'net1', 'nodad');
  const [four, six] = await netlink.run(addresses.list({ index, family: 4 }), addresses.list({ index, family: 6 }));
  assert.deepEqual(
    four.map(({ address }) => formatPrefix(address)),
    ['10.0.0.1/32'],
  );
  assert.ok(six.some(({ address }) => formatPrefix(address) === 'fd00::1/128'));
});

test('a list is of the interface and the family that were asked for, and no others', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const { index } = await create(netlink, 'net1', { type: 'ifb' });
  await netlink.run(
    addresses.add({ index, address: parsePrefix('10.0.0.1/24') }),
    addresses.add({ index, address: parsePrefix('fd00::1/64'), noDad: true }),
    addresses.add({ index: 1, address: parsePrefix('10.0.1.1/24') }),
    addresses.add({ index: 1, address: parsePrefix('fd00:1::1/64') }),
  );
  const texts = async (filter: Parameters<typeof addresses.list>[0]) => {
    const [list] = await netlink.run(addresses.list(filter));
    return list.map(({ address }) => formatPrefix(address)).filter((text) => !text.startsWith('fe80'));
  };
  assert.deepEqual(await texts({ index }), ['10.0.0.1/24', 'fd00::1/64']);
  assert.deepEqual(await texts({ family: 6 }), ['fd00:1::1/64', 'fd00::1/64']);
  assert.deepEqual(await texts({ index: 1, family: 4 }), ['10.0.1.1/24']);
  assert.equal((await texts({})).length, 4);
  await assert.rejects(netlink.run(addresses.list({ index: 99 })), { code: 'ENODEV' });
});

test('an address that somebody on the link has is marked a duplicate', async () => {
  await using home = await testNamespace();
  await using other = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  using there = Rtnetlink.open(other.namespace);
  const address = parsePrefix('fd00::1/64');
  const peer = { name: 'eth0', namespace: other.namespace.fd };
  const { index } = await create(netlink, 'eth0', { type: 'veth', peer }, false);
  const [far] = await there.run(links.get({ name: 'eth0' }));
  await there.run(addresses.add({ index: far.index, address, noDad: true }), links.change(far.index, { up: true }));
  await netlink.run(links.change(index, { up: true }), addresses.add({ index, address }));
  for (;;) {
    const [list] = await netlink.run(addresses.list({ index, family: 6 }));
    const found = list.find((each) => formatPrefix(each.address) === formatPrefix(address));
    assert.ok(found);
    if (found.duplicate) break;
    assert.ok(found.tentative, 'usable, though somebody else has it');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});
