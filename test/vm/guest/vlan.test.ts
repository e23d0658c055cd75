import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { CniError } from '../../../src/cni/error.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from '../../plugins/support.ts';
import { connect, exchange } from '../../plugins/traffic.ts';
import { testNamespace } from '../../support/namespace.ts';
import { addWire, becomeNode } from '../../support/node.ts';

becomeNode();
before(async () => {
  await addWire('ens5');
  await addWire('ens6', 1400);
});

const dualStack = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

const statesOf = async (netns: string) => [await stateOf(undefined), await stateOf(netns)];

test('an ADD makes the interface with its addresses and routes, and its DEL takes all back, twice', async () => {
  await using addresses = await hostLocalAddresses({ ...dualStack, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] });
  await using pod = await testNamespace();
  const before = await statesOf(pod.path);
  const dns = { nameservers: ['10.1.2.53'] };
  const network = config('vlan', { master: 'ens6', vlanId: 100, ipam: addresses.ipam, dns });
  const result = await runner.add(network, attachment(pod.path));
  const [link] = await ip(pod.path, 'link', 'show', 'net1');
  assert.equal(link?.['mtu'], 1400);
  assert.match(JSON.stringify(link?.['linkinfo']), /"info_kind":"vlan","info_data":\{"protocol":"802.1Q","id":100/);
  assert.deepEqual(
    { ...result, routes: [] },
    {
      interfaces: [{ name: 'net1', mac: link?.['address'], sandbox: pod.path }],
      ips: [
        { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 },
        { address: 'fd00:1::2/64', gateway: 'fd00:1::1', interface: 0 },
      ],
      routes: [],
      dns,
    },
  );
  await runner.check(withResult(network, result), attachment(pod.path));
  for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
  assert.deepEqual(await statesOf(pod.path), before);
  assert.deepEqual(await addresses.reserved(), []);
});

test('pods of one VLAN at the two ends of a wire exchange packets of any size, and those of another do not', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using one = await testNamespace();
  await using two = await testNamespace();
  const at = (master: string, vlanId: number) => config('vlan', { master, vlanId, ipam: addresses.ipam });
  await runner.add(at('ens5', 7), attachment(one.path));
  await runner.add(at('ens5p', 7), attachment(two.path, { containerId: 'c2' }));
  for (const packet of [100, 1500, 5000]) {
    await exchange(one.path, two.path, '10.1.2.3', packet);
    await exchange(two.path, one.path, 'fd00:1::2', packet);
  }
  assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');

  await using three = await testNamespace();
  await runner.add(at('ens5p', 8), attachment(three.path, { containerId: 'c3' }));
  await assert.rejects(exchange(one.path, three.path, '10.1.2.4', 100, 8), /does not come back/);
  // The same wire, the right VLAN.
  await runner.delete(at('ens5', 7), attachment(one.path));
  await runner.add(at('ens5', 8), attachment(one.path));
  assert.equal(await connect(one.path, three.path, '10.1.2.4'), '10.1.2.5');
  for (const [pod, containerId] of [
    [one, 'c1'],
    [two, 'c2'],
    [three, 'c3'],
  ] as const) {
    await runner.delete(at('ens5', 7), attachment(pod.path, { containerId }));
  }
});

test('the master may be an interface of the container, whose MTU counts', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await ip(pod.path, 'link', 'add', 'ens5', 'mtu', '9001', 'type', 'dummy');
  await ip(pod.path, 'link', 'set', 'ens5', 'up');
  const keys = { master: 'ens5', vlanId: 100, linkInContainer: true, mtu: 9000, ipam: addresses.ipam };
  const result = await runner.add(config('vlan', keys), attachment(pod.path));
  const [link] = await ip(pod.path, 'link', 'show', 'net1');
  assert.deepEqual([link?.['link'], link?.['mtu']], ['ens5', 9000]);
  await runner.check(withResult(config('vlan', keys), result), attachment(pod.path));
  await assert.rejects(
    runner.add(config('vlan', { ...keys, master: 'ens6' }), attachment(pod.path, { ifName: 'net2' })),
    /master "ens6" not found; the container \(.*\) has ens5, net1/,
  );
  await runner.delete(config('vlan', keys), attachment(pod.path));
});

const refused = [
  { what: 'no master', keys: { master: '' }, message: /master: expected the name of the interface/, code: 7 },
  {
    what: 'a master that does not exist',
    keys: { master: 'ens9' },
    message: /^master "ens9" not found; this node has/,
    code: 7,
  },
  {
    what: 'a vlanId that no tag holds',
    keys: { vlanId: 4095 },
    message: /vlanId: expected a VLAN ID from 0 to 4094, found 4095/,
    code: 7,
  },
  {
    what: "an MTU above the master's",
    keys: { mtu: 1401 },
    message: /invalid MTU 1401, must be \[0, master MTU\(1400\)\]/,
    code: 7,
  },
  { what: 'no ipam', keys: { ipam: {} }, message: /ipam\.type: expected the name of an IPAM plugin/, code: 7 },
  {
    what: 'a VLAN that the node has',
    keys: { master: 'ens5', vlanId: 9 },
    message: /^failed to create vlan "net1": .*exists/,
    code: 999,
  },
];
before(() => ip(undefined, 'link', 'add', 'link', 'ens5', 'name', 'ens5.9', 'type', 'vlan', 'id', '9'));
for (const { what, keys, message, code } of refused) {
  test(`${what} is refused, and leaves nothing`, async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const before = await statesOf(pod.path);
    const network = config('vlan', { master: 'ens6', vlanId: 100, ipam: addresses.ipam, ...keys });
    await assert.rejects(
      runner.add(network, attachment(pod.path)),
      (error) => error instanceof CniError && message.test(error.message) && error.code === code,
    );
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), []);
  });
}

test('a name that is taken in the container is refused, and what has it stays', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await runner.add(config('vlan', { master: 'ens5', vlanId: 20, ipam: addresses.ipam }), attachment(pod.path));
  const before = [await statesOf(pod.path), await addresses.reserved()];
  const second = attachment(pod.path, { containerId: 'c2' });
  await assert.rejects(
    runner.add(config('vlan', { master: 'ens5', vlanId: 21, ipam: addresses.ipam }), second),
    /interface "net1" already exists in/,
  );
  assert.deepEqual([await statesOf(pod.path), await addresses.reserved()], before);
});

test('a DEL works when the master is gone, and the namespace', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await addWire('ens7');
  const network = config('vlan', { master: 'ens7', vlanId: 100, ipam: addresses.ipam });
  await runner.add(network, attachment(pod.path));
  await ip(undefined, 'link', 'del', 'ens7');
  for (const netns of [pod.path, '/run/netns/plx-none', '']) await runner.delete(network, attachment(netns));
  assert.deepEqual(await addresses.reserved(), []);
});

test('a CHECK compares the VLAN and the MTU', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  const keys = { master: 'ens5', vlanId: 30, mtu: 1300, ipam: addresses.ipam };
  const result = await runner.add(config('vlan', keys), attachment(pod.path));
  const check = (changed: object) =>
    runner.check(withResult(config('vlan', { ...keys, ...changed }), result), attachment(pod.path));
  await check({});
  await check({ mtu: 0 });
  await assert.rejects(check({ vlanId: 31 }), /VLAN ID of net1 is 30, the configuration's is 31/);
  await assert.rejects(check({ mtu: 1200 }), /MTU of net1 is 1300, the configuration's is 1200/);
  await assert.rejects(check({ master: 'ens9' }), /master "ens9" not found/);
  await runner.delete(config('vlan', keys), attachment(pod.path));
});
