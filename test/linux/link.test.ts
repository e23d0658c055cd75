import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKernelError } from '../../src/linux/errors.ts';
import { type LinkChanges, links, type NewLink } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { parseIP } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ip, ipChange } from './support.ts';

const kinds: readonly {
  readonly title: string;
  readonly link: Omit<NewLink, 'name'>;
  readonly shown: object;
}[] = [
  { title: 'a veth', link: { kind: { type: 'veth' } }, shown: { linkinfo: { info_kind: 'veth' } } },
  {
    title: 'a bridge that filters VLANs',
    link: { kind: { type: 'bridge', vlanFiltering: true } },
    shown: { linkinfo: { info_kind: 'bridge', info_data: { vlan_filtering: 1 } } },
  },
  {
    title: 'a plain bridge',
    link: { kind: { type: 'bridge' } },
    shown: { linkinfo: { info_data: { vlan_filtering: 0 } } },
  },
  ...(['bridge', 'private', 'vepa', 'passthru'] as const).map((mode) => ({
    title: `a macvlan in mode ${mode}`,
    link: { parent: 1, kind: { type: 'macvlan', mode } as const },
    shown: { link: 'parent', linkinfo: { info_kind: 'macvlan', info_data: { mode } } },
  })),
  {
    title: 'a macvlan with a queue for broadcasts',
    link: { parent: 1, kind: { type: 'macvlan', mode: 'bridge', bcQueueLength: 4321 } },
    shown: { linkinfo: { info_data: { mode: 'bridge', bcqueuelen: 4321 } } },
  },
  {
    title: 'a macvtap',
    link: { parent: 1, kind: { type: 'macvtap', mode: 'private' } },
    shown: { linkinfo: { info_kind: 'macvtap', info_data: { mode: 'private' } } },
  },
  {
    title: 'a vxlan over IPv4',
    link: {
      kind: {
        type: 'vxlan',
        id: 4242,
        link: 1,
        group: parseIP('239.1.1.1'),
        local: parseIP('10.9.8.7'),
        port: 4789,
        ttl: 9,
        learning: false,
      },
    },
    shown: {
      linkinfo: {
        info_kind: 'vxlan',
        info_data: {
          id: 4242,
          group: '239.1.1.1',
          local: '10.9.8.7',
          link: 'parent',
          port: 4789,
          ttl: 9,
          learning: false,
        },
      },
    },
  },
  {
    title: 'a vxlan over IPv6',
    link: { kind: { type: 'vxlan', id: 1, group: parseIP('ff02::1:2'), local: parseIP('fd00::1'), link: 1 } },
    shown: { linkinfo: { info_data: { id: 1, group6: 'ff02::1:2', local6: 'fd00::1', learning: true } } },
  },
  { title: 'an ifb', link: { kind: { type: 'ifb' } }, shown: { linkinfo: { info_kind: 'ifb' } } },
  {
    title: 'all that any link can be given',
    link: {
      parent: 1,
      mtu: 1400,
      mac: '02:00:5E:10:00:01',
      up: true,
      txQueueLength: 77,
      kind: { type: 'macvlan', mode: 'bridge' },
    },
    shown: { mtu: 1400, address: '02:00:5e:10:00:01', txqlen: 77, link: 'parent' },
  },
];

for (const { title, link, shown } of kinds) {
  test(`${title} is what iproute2 sees, and what is read back`, async (t) => {
    await using home = await testNamespace();
    using netlink = Rtnetlink.open(home.namespace);
    const parent = await create(netlink, 'parent', { type: 'veth', peer: { name: 'parentp' } });
    const under = <T extends object>(part: T): T =>
      'parent' in part ? { ...part, parent: parent.index } : 'link' in part ? { ...part, link: parent.index } : part;
    const wanted = { ...under(link), name: 'net1', kind: under(link.kind) };
    const [created] = await netlink.settle(links.create(wanted));
    if (created?.ok === false && 'vlanFiltering' in link.kind && created.error.code === 'EOPNOTSUPP') {
      t.skip('the bridges of this kernel know no VLANs');
      return;
    }
    const [made] = await netlink.run(links.get({ name: 'net1' }));
    const [seen] = await ip(home.path, 'link', 'show', 'dev', 'net1');
    assert.partialDeepStrictEqual(seen, { ifname: 'net1', ifindex: made.index, ...shown });
    assert.equal(seen?.['address'], made.mac);
    assert.equal(made.kind, link.kind.type);
    const settings = Object.entries(wanted.kind).filter(([key]) => key !== 'peer');
    assert.partialDeepStrictEqual(made.data, Object.fromEntries(settings));
  });
}

test('a veth is made with its two ends in two namespaces, and each knows where the other is', async () => {
  await using home = await testNamespace();
  await using pod = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  using inside = Rtnetlink.open(pod.namespace);
  const peer = { name: 'host0', mtu: 1300, mac: '02:00:00:00:00:02' };
  await netlink.run(
    links.create({ name: 'eth0', namespace: pod.namespace.fd, mtu: 1300, up: true, kind: { type: 'veth', peer } }),
  );
  const [hostEnd] = await netlink.run(links.get({ name: 'host0' }));
  const [podEnd] = await inside.run(links.get({ name: 'eth0' }));
  assert.equal(hostEnd.parent, podEnd.index);
  assert.equal(podEnd.parent, hostEnd.index);
  assert.equal(typeof hostEnd.parentNamespaceId, 'number');
  assert.deepEqual([hostEnd.mtu, hostEnd.mac, hostEnd.flags.up], [1300, peer.mac, false]);
  assert.deepEqual([podEnd.mtu, podEnd.flags.up], [1300, true]);
  const [seen] = await ip(pod.path, 'link', 'show', 'dev', 'eth0');
  assert.partialDeepStrictEqual(seen, { ifname: 'eth0', mtu: 1300, address: podEnd.mac, link_index: hostEnd.index });
});

test('an interface is created in another namespace under its final name, upon a parent that stays', async () => {
  await using home = await testNamespace();
  await using pod = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  using inside = Rtnetlink.open(pod.namespace);
  const parent = await create(netlink, 'ens6', { type: 'veth', peer: { name: 'ens6p' } });
  const kind = { type: 'macvlan', mode: 'bridge' } as const;
  await netlink.run(links.create({ name: 'net1', namespace: pod.namespace.fd, parent: parent.index, kind }));
  const [made] = await inside.run(links.get({ name: 'net1' }));
  assert.equal(made.parent, parent.index);
  const [here] = await netlink.settle(links.get({ name: 'net1' }));
  assert.ok(here?.ok === false && here.error.code === 'ENODEV');
});

test('an interface moves and is renamed, back and forth, in one request each', async () => {
  await using home = await testNamespace();
  await using pod = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  using inside = Rtnetlink.open(pod.namespace);
  const device = await create(netlink, 'ens7', { type: 'veth', peer: { name: 'ens7p' } });
  await netlink.run(
    links.change(device.index, { namespace: pod.namespace.fd, name: 'net1', alias: 'ens7', mtu: 1280, up: true }),
  );
  const [moved] = await inside.run(links.get({ name: 'net1' }));
  assert.deepEqual([moved.alias, moved.mtu, moved.flags.up, moved.mac], ['ens7', 1280, true, device.mac]);
  assert.deepEqual(
    (await ip(home.path, 'link', 'show')).map((link) => link['ifname']).filter((name) => name !== 'lo'),
    ['ens7p'],
  );
  await inside.run(links.change(moved.index, { namespace: home.namespace.fd, name: 'ens7', alias: '' }));
  const [back] = await netlink.run(links.get({ name: 'ens7' }));
  assert.deepEqual([back.mac, back.flags.up, back.alias || undefined], [device.mac, false, undefined]);
});

test('a move to a name that is taken there is EEXIST, and nothing is lost', async () => {
  await using home = await testNamespace();
  await using pod = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  using inside = Rtnetlink.open(pod.namespace);
  const device = await create(netlink, 'ens7', { type: 'ifb' });
  await create(inside, 'net1', { type: 'ifb' });
  await assert.rejects(netlink.run(links.change(device.index, { namespace: pod.namespace.fd, name: 'net1' })), {
    code: 'EEXIST',
  });
  const everywhere = [...(await ip(home.path, 'link', 'show')), ...(await ip(pod.path, 'link', 'show'))];
  assert.deepEqual(everywhere.map((link) => link['ifname']).sort(), ['ens7', 'lo', 'lo', 'net1']);
});

const changes: readonly { readonly title: string; readonly changes: LinkChanges; readonly shown: object }[] = [
  { title: 'up', changes: { up: true }, shown: { operstate: 'UP' } },
  { title: 'down', changes: { up: false }, shown: { operstate: 'DOWN' } },
  { title: 'promiscuous', changes: { promiscuous: true }, shown: { promiscuity: 1 } },
  { title: 'an MTU', changes: { mtu: 1234 }, shown: { mtu: 1234 } },
  { title: 'a MAC address', changes: { mac: '02-00-00-00-00-aa' }, shown: { address: '02:00:00:00:00:aa' } },
  { title: 'an alias', changes: { alias: 'was "ens6"' }, shown: { ifalias: 'was "ens6"' } },
  { title: 'a queue length', changes: { txQueueLength: 5 }, shown: { txqlen: 5 } },
  { title: 'a name with a dot', changes: { name: 'net1.100' }, shown: { ifname: 'net1.100' } },
];

for (const { title, changes: wanted, shown } of changes) {
  test(`an interface is given ${title}, and all else stays`, async () => {
    await using home = await testNamespace();
    using netlink = Rtnetlink.open(home.namespace);
    const bridge = await create(netlink, 'br0', { type: 'bridge' });
    const before = await create(netlink, 'net1', { type: 'veth', peer: { name: 'net1p' } });
    const [peer] = await netlink.run(links.get({ name: 'net1p' }));
    await netlink.run(links.change(peer.index, { up: true, master: bridge.index }));
    await netlink.run(links.change(before.index, wanted));
    const [seen] = await ip(home.path, 'link', 'show', 'dev', wanted.name ?? 'net1');
    assert.partialDeepStrictEqual(seen, { ifindex: before.index, ifname: 'net1', mtu: 1500, ...shown });
    const [after] = await netlink.run(links.get({ index: before.index }));
    assert.equal(after.flags.promisc, wanted.promiscuous ?? false);
    const [port] = await netlink.run(links.get({ index: peer.index }));
    assert.equal(port.master, bridge.index);
    await netlink.run(links.change(peer.index, { master: 0 }));
    const [free] = await netlink.run(links.get({ index: peer.index }));
    assert.equal(free.master, undefined);
  });
}

test('an interface is deleted by name or by index, and not a second time', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  for (const by of ['name', 'index'] as const) {
    const { index, name } = await create(netlink, 'net1', { type: 'ifb' });
    const selector = by === 'name' ? { name } : { index };
    const [first, second] = await netlink.settle(links.delete(selector), links.delete(selector));
    assert.ok(first?.ok);
    assert.ok(second?.ok === false && isKernelError(second.error, 'ENODEV'));
  }
});

test('no selector reaches more than one interface', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  await create(netlink, 'net1', { type: 'ifb' });
  for (const selector of [{ name: '' }, { index: 0 }, { index: -1 }]) {
    const [outcome] = await netlink.settle(links.delete(selector));
    assert.ok(outcome?.ok === false, JSON.stringify(selector));
  }
  assert.equal((await ip(home.path, 'link', 'show')).length, 2);
});

test('an interface is found by a name of its own that is longer than 15 characters; no such name is ENODEV', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const { index } = await create(netlink, 'net1', { type: 'ifb' });
  await ipChange(home.path, 'link', 'property', 'add', 'dev', 'net1', 'altname', 'enp0s31f6np0-of-the-node');
  const [found] = await netlink.run(links.get({ name: 'enp0s31f6np0-of-the-node' }));
  assert.equal(found.index, index);
  await assert.rejects(netlink.run(links.get({ name: 'enp0s31f6np0-of-nobody' })), {
    name: 'KernelError',
    code: 'ENODEV',
    message: 'look up interface enp0s31f6np0-of-nobody: no such device',
  });
});

test('an error carries what was wanted, the errno and the words of the kernel', async () => {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const kind = { type: 'macvlan', mode: 'bridge' } as const;
  const parent = await create(netlink, 'ens6', { type: 'veth', peer: { name: 'ens6p' } });
  await assert.rejects(netlink.run(links.create({ name: 'net1', parent: parent.index, mtu: 9000, kind })), {
    name: 'KernelError',
    operation: 'create macvlan net1',
    code: 'EINVAL',
  });
  await assert.rejects(netlink.run(links.create({ name: 'ens6', kind: { type: 'ifb' } })), {
    code: 'EEXIST',
    message: 'create ifb ens6: file exists',
  });
  await assert.rejects(netlink.run(links.change(parent.index, { mtu: 1 })), {
    message: `set mtu 1 of interface number ${parent.index}: invalid argument (mtu less than device minimum)`,
    extack: 'mtu less than device minimum',
  });
  assert.throws(() => links.create({ name: 'net1\0x', kind: { type: 'ifb' } }), /zero byte/);
  assert.throws(() => links.create({ name: 'net1', mac: '02:00', kind: { type: 'ifb' } }), /not a hardware address/);
});
