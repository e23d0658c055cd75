import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bridgePorts } from '../../src/linux/bridge-port.ts';
import { bridgeVlans } from '../../src/linux/bridge-vlan.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ip } from './support.ts';

/** A bridge, and an interface that is a port of it. */
async function bridgeAndPort() {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await testNamespace());
  const netlink = stack.use(Rtnetlink.open(home.namespace));
  const bridge = await create(netlink, 'br0', { type: 'bridge' });
  const port = await create(netlink, 'port', { type: 'veth', peer: { name: 'peer' } });
  await netlink.run(links.change(port.index, { master: bridge.index }));
  const stay = stack.move();
  return { home, netlink, bridge, port, [Symbol.asyncDispose]: () => stay.disposeAsync() };
}

const changes = [
  { wanted: { hairpin: true }, expected: { hairpin: true, isolated: false } },
  { wanted: { isolated: true }, expected: { hairpin: false, isolated: true } },
  { wanted: { hairpin: true, isolated: true }, expected: { hairpin: true, isolated: true } },
];
for (const { wanted, expected } of changes) {
  test(`a port is given ${JSON.stringify(wanted)}, which iproute2 sees, and loses it again`, async () => {
    await using places = await bridgeAndPort();
    const { home, netlink, port } = places;
    const seen = async () => {
      const [said] = await netlink.run(bridgePorts.get(port.index));
      const [link] = await ip(home.path, 'link', 'show', 'dev', 'port');
      assert.partialDeepStrictEqual(link, { linkinfo: { info_slave_kind: 'bridge', info_slave_data: said } });
      return said;
    };
    assert.deepEqual(await seen(), { hairpin: false, isolated: false });
    await netlink.run(bridgePorts.change(port.index, wanted));
    assert.deepEqual(await seen(), expected);
    await netlink.run(bridgePorts.change(port.index, { hairpin: false, isolated: false }));
    assert.deepEqual(await seen(), { hairpin: false, isolated: false });
  });
}

test('what is a port of no bridge is told apart, and takes no settings of one', async () => {
  await using places = await bridgeAndPort();
  const { netlink } = places;
  const [peer] = await netlink.run(links.get({ name: 'peer' }));
  assert.deepEqual(await netlink.run(bridgePorts.get(peer.index)), [undefined]);
  await assert.rejects(netlink.run(bridgePorts.change(peer.index, { hairpin: true, isolated: true })), {
    name: 'KernelError',
    operation: `set hairpin true, isolated true of bridge port number ${peer.index}`,
  });
  await assert.rejects(netlink.run(bridgePorts.get(9999)), { code: 'ENODEV' });
});

test('VLANs of a port that is not there are refused, naming them', async () => {
  await using places = await bridgeAndPort();
  const { netlink } = places;
  const vlans = [
    { first: 4, last: 4 },
    { first: 7, last: 9 },
  ];
  await assert.rejects(netlink.run(bridgeVlans.add(9999, vlans)), {
    operation: 'add VLAN 4, 7-9 to bridge port number 9999',
  });
  await assert.rejects(netlink.run(bridgeVlans.delete(9999, vlans)), {
    operation: 'delete VLAN 4, 7-9 of bridge port number 9999',
  });
});
