import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { z } from 'zod';
import { addList, deleteList } from '../../../src/cni/chain.ts';
import { parseNetworkConfig } from '../../../src/cni/config.ts';
import type { Result } from '../../../src/cni/result.ts';
import { loadManifests } from '../../../src/playground/api/manifests.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from '../../plugins/support.ts';
import { connect } from '../../plugins/traffic.ts';
import { testNamespace } from '../../support/namespace.ts';
import { addWire, becomeNode } from '../../support/node.ts';

becomeNode();
before(async () => {
  await addWire('ens5');
  await addWire('ens6', 1400);
});

const mac = async (name: string) => (await ip(undefined, 'link', 'show', name))[0]?.['address'];

const statesOf = async (netns: string) => [await stateOf(undefined), await stateOf(netns)];

test('an ADD makes the interface with its addresses and routes, and its DEL takes all back, twice', async () => {
  await using addresses = await hostLocalAddresses({
    ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.1.2.9' }, { dst: '::/0' }],
  });
  await using pod = await testNamespace();
  const before = await statesOf(pod.path);
  const dns = { nameservers: ['10.1.2.53'] };
  const network = config('ipvlan', { master: 'ens6', ipam: addresses.ipam, dns });
  const result = await runner.add(network, attachment(pod.path));

  const [link] = await ip(pod.path, 'link', 'show', 'net1');
  assert.equal(link?.['mtu'], 1400);
  assert.equal(link?.['address'], await mac('ens6'));
  assert.deepEqual(link?.['linkinfo'], { info_kind: 'ipvlan', info_data: { mode: 'l2', bridge: true } });
  assert.deepEqual(
    { ...result, routes: [] },
    {
      interfaces: [{ name: 'net1', mac: await mac('ens6'), sandbox: pod.path }],
      ips: [
        { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 },
        { address: 'fd00::2/64', gateway: 'fd00::1', interface: 0 },
      ],
      routes: [],
      dns,
    },
  );
  const routes = [...(await ip(pod.path, 'route')), ...(await ip(pod.path, '-6', 'route'))];
  assert.deepEqual(
    routes.filter(({ dst }) => dst !== 'fe80::/64').map(({ dst, gateway }) => `${dst} ${gateway ?? 'on the link'}`),
    ['default 10.1.2.1', '10.1.2.0/24 on the link', '10.9.0.0/16 10.1.2.9', 'fd00::/64 on the link', 'default fd00::1'],
  );
  await runner.check(withResult(network, result), attachment(pod.path));

  const unnamed = config('ipvlan', { ipam: addresses.ipam });
  for (const _ of [1, 2]) await runner.delete(unnamed, attachment(pod.path));
  assert.deepEqual(await statesOf(pod.path), before);
  assert.deepEqual(await addresses.reserved(), []);
});

test('the network of the example, whose configuration has no name, gives its first address', async () => {
  const file = join(import.meta.dirname, '../../../examples/ipvlan-conf-1.yaml');
  const schema = z.tuple([z.object({ spec: z.object({ config: z.string() }) })]);
  const [{ spec }] = schema.parse(await loadManifests([file]));
  const network = parseNetworkConfig(spec.config, 'ipvlan-conf-1', { defaultName: 'ipvlan-conf-1' });
  await using pod = await testNamespace();
  const place = attachment(pod.path);
  const { raw } = await addList(network, place, {}, runner);
  assert.deepEqual(raw, {
    cniVersion: '0.3.0',
    interfaces: [{ name: 'net1', mac: await mac('ens6'), sandbox: pod.path }],
    ips: [{ version: '4', interface: 0, address: '100.64.30.10/19', gateway: '100.64.0.1' }],
    dns: {},
  });
  const [link] = await ip(pod.path, 'address', 'show', 'net1');
  assert.match(
    JSON.stringify(link?.['addr_info']),
    /"local":"100.64.30.10","prefixlen":19,"broadcast":"100.64.31.255","scope":"global"/,
  );
  await deleteList(network, place, { prevResult: raw }, runner);
  assert.equal((await ip(pod.path, 'link')).length, 1);
});

test('pods of one master reach each other, and hosts of its network', async () => {
  await using addresses = await hostLocalAddresses();
  await using one = await testNamespace();
  await using two = await testNamespace();
  await using neighbour = await testNamespace();
  await addWire('ens7');
  await ip(undefined, 'link', 'set', 'ens7p', 'netns', neighbour.path);
  await ip(neighbour.path, 'address', 'add', '10.1.2.200/24', 'dev', 'ens7p');
  await ip(neighbour.path, 'link', 'set', 'ens7p', 'up');
  const network = config('ipvlan', { master: 'ens7', ipam: addresses.ipam });
  await runner.add(network, attachment(one.path));
  await runner.add(network, attachment(two.path, { containerId: 'c2' }));
  assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');
  assert.equal(await connect(two.path, neighbour.path, '10.1.2.200'), '10.1.2.3');
  assert.equal(await connect(neighbour.path, one.path, '10.1.2.2'), '10.1.2.200');
});

for (const mode of ['l2', 'l3', 'l3s']) {
  for (const flag of ['bridge', 'private', 'vepa']) {
    test(`mode ${mode} with flag ${flag} and an MTU, which a CHECK compares`, async () => {
      await using pod = await testNamespace();
      const ipam = {
        type: 'static',
        addresses: [
          { address: '10.1.2.5/24', gateway: '10.1.2.1' },
          { address: 'fd00::5/64', gateway: 'fd00::1' },
        ],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      };
      const keys = { master: 'ens5', mode, flag, mtu: 1300, ipam };
      const result = await runner.add(config('ipvlan', keys), attachment(pod.path));
      const [link] = await ip(pod.path, 'link', 'show', 'net1');
      assert.equal(link?.['mtu'], 1300);
      assert.deepEqual(link?.['linkinfo'], { info_kind: 'ipvlan', info_data: { mode, [flag]: true } });
      const check = (changed: object) =>
        runner.check(withResult(config('ipvlan', { ...keys, ...changed }), result), attachment(pod.path));
      await check({});
      await check({ master: '' });
      await assert.rejects(check({ mode: mode === 'l3' ? 'l2' : 'l3' }), /mode \w+ does not match expected value/);
      await assert.rejects(check({ flag: flag === 'vepa' ? '' : 'vepa' }), /flag \w+ does not match expected value/);
      await assert.rejects(check({ master: 'ens9' }), /master "ens9" not found/);
      await runner.delete(config('ipvlan', keys), attachment(pod.path));
    });
  }
}

test('behind another plugin it stands on the interface of its result, and takes its addresses', async () => {
  await using pod = await testNamespace();
  const prevResult: Result = {
    interfaces: [{ name: 'ens5' }],
    ips: [{ address: '10.1.2.7/24', gateway: '10.1.2.1', interface: 0 }],
    routes: [{ dst: '0.0.0.0/0' }],
    dns: { nameservers: ['192.0.2.1'] },
  };
  const network = config('ipvlan', { dns: { domain: 'a' } });
  const result = await runner.add(withResult(network, prevResult), attachment(pod.path));
  assert.deepEqual(JSON.parse(JSON.stringify(result)), {
    interfaces: [{ name: 'net1', mac: await mac('ens5'), sandbox: pod.path }],
    ips: prevResult.ips,
    routes: prevResult.routes,
    dns: { domain: 'a' },
  });
  await runner.check(withResult(network, result), attachment(pod.path));
  for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
  assert.equal((await ip(pod.path, 'link')).length, 1);
});

test('behind another plugin its own IPAM goes before the addresses of the result', async () => {
  await using addresses = await hostLocalAddresses({ subnet: '10.3.0.0/24' });
  await using pod = await testNamespace();
  const ips = [{ address: '10.1.2.7/24' }];
  const network = config('ipvlan', { ipam: addresses.ipam });
  const call = withResult(network, { interfaces: [{ name: 'ens5' }], ips, routes: [], dns: {} });
  const result = await runner.add(call, attachment(pod.path));
  assert.deepEqual(result.ips, [{ address: '10.3.0.2/24', gateway: '10.3.0.1', interface: 0 }]);
  await runner.delete(withResult(network, result), attachment(pod.path));
  assert.deepEqual(await addresses.reserved(), []);
});

test('without a master it stands on the interface of the default route', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await ip(undefined, 'address', 'add', '192.0.2.9/24', 'dev', 'ens6');
  await ip(undefined, 'route', 'add', 'default', 'via', '192.0.2.1');
  const network = config('ipvlan', { ipam: addresses.ipam });
  const result = await runner.add(network, attachment(pod.path));
  assert.equal(result.interfaces[0]?.mac, await mac('ens6'));
  await ip(undefined, 'address', 'flush', 'dev', 'ens6');
  await runner.check(withResult(network, result), attachment(pod.path));
  await runner.delete(network, attachment(pod.path));
});

test('the master may be an interface of the container', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await ip(pod.path, 'link', 'add', 'ens5', 'type', 'dummy');
  const keys = { master: 'ens5', linkInContainer: true, ipam: addresses.ipam };
  const result = await runner.add(config('ipvlan', keys), attachment(pod.path));
  const [master] = await ip(pod.path, 'link', 'show', 'ens5');
  const [link] = await ip(pod.path, 'link', 'show', 'net1');
  assert.equal(link?.['link'], 'ens5');
  assert.equal(link?.['address'], master?.['address']);
  await runner.check(withResult(config('ipvlan', keys), result), attachment(pod.path));
  await runner.delete(config('ipvlan', keys), attachment(pod.path));
});

test("the container's interface may have the name of one of the node's", async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  const before = await stateOf(undefined);
  const place = attachment(pod.path, { ifName: 'ens6' });
  await runner.add(config('ipvlan', { master: 'ens5', ipam: addresses.ipam }), place);
  const names = (await ip(pod.path, 'link')).map((link) => link['ifname']);
  assert.deepEqual(names, ['lo', 'ens6']);
  assert.deepEqual(await stateOf(undefined), before);
});

test('a name that is taken in the container is refused, and what has it stays', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  const network = config('ipvlan', { master: 'ens5', ipam: addresses.ipam });
  for (const ifName of ['net1', 'ens6']) {
    await runner.add(network, attachment(pod.path, { ifName }));
    const before = [await statesOf(pod.path), await addresses.reserved()];
    const second = attachment(pod.path, { ifName, containerId: 'c2' });
    await assert.rejects(runner.add(network, second), /interface "(net1|ens6)" already exists in/);
    assert.deepEqual([await statesOf(pod.path), await addresses.reserved()], before);
  }
});

const failures = [
  {
    what: 'an address that nobody can give',
    ipam: { subnet: '10.1.2.0/30', rangeStart: '10.1.2.1', rangeEnd: '10.1.2.1' },
    keys: { master: 'ens5' },
    message: /no IP addresses available in range set/,
  },
  {
    what: 'a route that the kernel refuses',
    ipam: { subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] },
    keys: { master: 'ens5' },
    message: /^interface "net1": add route 10\.9\.0\.0\/16 via 192\.0\.2\.1 .*network is unreachable/i,
  },
  {
    what: 'a master that is a port of a bridge',
    ipam: { subnet: '10.1.2.0/24' },
    keys: { master: 'ens8' },
    message: /^failed to create ipvlan "net1": .*busy/i,
  },
];
before(async () => {
  await addWire('ens8');
  await ip(undefined, 'link', 'add', 'br0', 'type', 'bridge');
  await ip(undefined, 'link', 'set', 'ens8', 'master', 'br0');
});
for (const { what, ipam, keys, message } of failures) {
  test(`${what} fails the ADD, and leaves nothing`, async () => {
    await using addresses = await hostLocalAddresses(ipam);
    await using pod = await testNamespace();
    const before = await statesOf(pod.path);
    const network = config('ipvlan', { ipam: addresses.ipam, ...keys });
    await assert.rejects(runner.add(network, attachment(pod.path)), { message });
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), []);
  });
}

test('a DEL releases the address when the namespace is gone, and when none is named', async () => {
  for (const netns of ['/run/netns/plx-none', '']) {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const network = config('ipvlan', { master: 'ens5', ipam: addresses.ipam });
    await runner.add(network, attachment(pod.path));
    for (const _ of [1, 2]) await runner.delete(network, attachment(netns));
    assert.deepEqual(await addresses.reserved(), []);
  }
});
