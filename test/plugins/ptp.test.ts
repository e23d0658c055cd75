import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import type { Attachment, PluginConfig } from '../../src/cni/plugin.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';
import { connect } from './traffic.ts';

becomeNode();

const dualStack = {
  ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', mtu: 1300 }, { dst: '::/0' }],
};

/** Routes as ip(8) would print them, in short. */
async function ways(netns: string | undefined, device?: string): Promise<string[]> {
  const all = [...(await ip(netns, 'route')), ...(await ip(netns, '-6', 'route'))];
  return all
    .filter(({ dst, dev }) => dst !== 'fe80::/64' && dst !== 'multicast' && (device === undefined || dev === device))
    .map(({ dst, gateway, scope, prefsrc }) =>
      [dst, gateway && `via ${gateway}`, scope !== 'global' && `scope ${scope}`, prefsrc && `src ${prefsrc}`]
        .filter(Boolean)
        .join(' '),
    );
}

const statesOf = async (netns: string) => [await stateOf(undefined), await stateOf(netns)];

/** An attachment that goes before its namespace does: the kernel takes its time with what is left in one. */
async function added(network: PluginConfig, place: Attachment) {
  const result = await runner.add(network, place);
  return { ...result, [Symbol.asyncDispose]: () => runner.delete(withResult(network, result), place) };
}

const globalAddresses = (link: JsonObject | undefined): string[] =>
  [...JSON.stringify(link?.['addr_info']).matchAll(/"local":"([^"]*)","prefixlen":(\d+)/g)]
    .map(([, local, length]) => `${local}/${length}`)
    .filter((address) => !address.startsWith('fe80:'));

describe('ptp', () => {
  test('an ADD makes a cable with the node as router, and its DEL takes all back, twice', async () => {
    await using addresses = await hostLocalAddresses(dualStack);
    await using pod = await testNamespace();
    const before = await statesOf(pod.path);
    const network = config('ptp', { mtu: 1400, ipam: addresses.ipam });
    const result = await runner.add(network, attachment(pod.path));

    const [inPod] = await ip(pod.path, 'address', 'show', 'net1');
    const [node, container] = result.interfaces;
    const [onNode] = await ip(undefined, 'address', 'show', node?.name ?? '');
    assert.match(node?.name ?? '', /^veth[0-9a-f]{8}$/);
    assert.deepEqual(
      [inPod?.['mtu'], onNode?.['mtu'], inPod?.['ifindex'], onNode?.['ifindex']],
      [1400, 1400, onNode?.['link_index'], inPod?.['link_index']],
    );
    assert.deepEqual(node, { name: node?.name, mac: onNode?.['address'] });
    assert.deepEqual(container, { name: 'net1', mac: inPod?.['address'], sandbox: pod.path });
    assert.deepEqual(result.ips, [
      { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 1 },
      { address: 'fd00:1::2/64', gateway: 'fd00:1::1', interface: 1 },
    ]);
    assert.deepEqual(globalAddresses(inPod), ['10.1.2.2/24', 'fd00:1::2/64']);
    assert.deepEqual(globalAddresses(onNode), ['10.1.2.1/32', 'fd00:1::1/128']);
    assert.deepEqual(await ways(pod.path), [
      'default via 10.1.2.1',
      '10.1.2.0/24 via 10.1.2.1 src 10.1.2.2',
      '10.1.2.1 scope link src 10.1.2.2',
      '10.9.0.0/16 via 10.1.2.1',
      'fd00:1::1 src fd00:1::2',
      'fd00:1::/64 via fd00:1::1 src fd00:1::2',
      'default via fd00:1::1',
    ]);
    assert.deepEqual(await ways(undefined, node?.name), ['10.1.2.2 scope host', 'fd00:1::1', 'fd00:1::2']);
    assert.equal(await readSysctl(NetworkNamespace.host(), 'ipv6', 'conf', node?.name ?? '', 'accept_ra'), '0');
    await runner.check(withResult(network, result), attachment(pod.path));

    for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('traffic flows at once, between pods and between pod and node, for both families', async () => {
    const forwarding = [
      ['ipv4', 'ip_forward'],
      ['ipv6', 'conf', 'all', 'forwarding'],
    ] as const;
    for (const name of forwarding) await writeSysctl(NetworkNamespace.host(), 0, ...name);
    await using addresses = await hostLocalAddresses(dualStack);
    await using one = await testNamespace();
    await using two = await testNamespace();
    const network = config('ptp', { ipam: addresses.ipam });
    await using _first = await added(network, attachment(one.path));
    await using _second = await added(network, attachment(two.path, { containerId: 'c2' }));
    for (const name of forwarding) assert.equal(await readSysctl(NetworkNamespace.host(), ...name), '1');
    assert.equal(await connect(one.path, two.path, 'fd00:1::3'), 'fd00:1::2');
    assert.equal(await connect(undefined, one.path, 'fd00:1::2'), 'fd00:1::1');
    assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');
    assert.equal(await connect(two.path, undefined, '10.1.2.1'), '10.1.2.3');
  });

  test('an address may be alone in its prefix, and share its subnet and its gateway with others', async () => {
    await using pod = await testNamespace();
    const addresses = [
      { address: '10.5.0.7/32', gateway: '169.254.1.1' },
      { address: '10.6.0.7/24', gateway: '169.254.1.1' },
      { address: '10.6.0.8/24', gateway: '169.254.1.1' },
      { address: 'fd00:5::7/128', gateway: 'fd00:6::1' },
    ];
    const ipam = { type: 'static', addresses, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] };
    const network = config('ptp', { ipam });
    await using result = await added(network, attachment(pod.path));
    assert.deepEqual(await ways(pod.path), [
      'default via 169.254.1.1',
      '10.6.0.0/24 via 169.254.1.1 src 10.6.0.7',
      '169.254.1.1 scope link src 10.5.0.7',
      'fd00:6::1 src fd00:5::7',
      'default via fd00:6::1',
    ]);
    await runner.check(withResult(network, result), attachment(pod.path));
    assert.equal(await connect(undefined, pod.path, '10.6.0.8'), '169.254.1.1');
    assert.equal(await connect(pod.path, undefined, '169.254.1.1'), '10.5.0.7');
    assert.equal(await connect(pod.path, undefined, 'fd00:6::1'), 'fd00:5::7');
  });

  const fromIpam = { nameservers: ['10.1.2.53'] };
  const dnsRules = [
    { dns: {}, expected: fromIpam },
    { dns: { domain: '' }, expected: fromIpam },
    { dns: { search: ['cluster.local'] }, expected: { search: ['cluster.local'] } },
    { dns: { nameservers: [] }, expected: { nameservers: [] } },
  ];
  for (const { dns, expected } of dnsRules) {
    test(`the result's dns is ${JSON.stringify(expected)} where the configuration says ${JSON.stringify(dns)}`, async () => {
      await using pod = await testNamespace();
      const addresses = [{ address: '10.1.2.5/24', gateway: '10.1.2.1' }];
      const network = config('ptp', { dns, ipam: { type: 'static', addresses, dns: fromIpam } });
      await using result = await added(network, attachment(pod.path));
      assert.deepEqual(result.dns, expected);
    });
  }

  const refused = [
    {
      what: 'no IPAM',
      keys: { ipam: {} },
      message: /^network "test-net": ipam\.type: expected the name of an IPAM plugin/,
    },
    {
      what: 'an address without a gateway',
      keys: { ipam: { type: 'static', addresses: [{ address: '10.1.2.5/24' }] } },
      message: /^network "test-net": a point-to-point link needs a gateway.*IPAM gave 10\.1\.2\.5\/24 without one$/,
    },
    {
      what: 'IPAM without an address',
      keys: { ipam: { type: 'static' } },
      message: /^IPAM plugin returned missing IP config$/,
    },
    { what: 'a negative MTU', keys: { mtu: -1 }, message: /^network "test-net": mtu: expected at least 0, found -1$/ },
    {
      what: 'an MTU that no kernel takes',
      keys: { mtu: 70_000 },
      message: /^failed to create veth "net1": .*invalid argument/i,
    },
    {
      what: 'a namespace that is gone',
      netns: '/run/netns/plx-none',
      keys: {},
      message: /^failed to open netns/,
      code: 8,
    },
    {
      what: 'a route that the kernel refuses',
      ipam: { subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] },
      keys: {},
      message: /^interface "net1": add route 10\.9\.0\.0\/16 via 192\.0\.2\.1 .*network is unreachable/i,
    },
  ];
  for (const { what, keys, ipam, message, netns, code = undefined } of refused) {
    test(`${what} is refused, and leaves nothing`, async () => {
      await using addresses = await hostLocalAddresses(ipam);
      await using pod = await testNamespace();
      const before = await statesOf(pod.path);
      const network = config('ptp', { ipam: addresses.ipam, ...keys });
      await assert.rejects(
        runner.add(network, attachment(netns ?? pod.path)),
        (error) => error instanceof CniError && message.test(error.message) && (code ?? error.code) === error.code,
      );
      assert.deepEqual(await statesOf(pod.path), before);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a name that is taken is refused, and what has it stays', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const network = config('ptp', { ipam: addresses.ipam });
    await using _first = await added(network, attachment(pod.path));
    const before = await statesOf(pod.path);
    for (const containerId of ['c1', 'c2']) {
      const second = attachment(pod.path, { containerId });
      await assert.rejects(runner.add(network, second), /interface "net1" already exists in/);
    }
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
  });

  test("an interface of the node may have the name that the container's gets", async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await ip(undefined, 'link', 'add', 'net7', 'type', 'veth', 'peer', 'name', 'net7p');
    const place = attachment(pod.path, { ifName: 'net7' });
    await using _result = await added(config('ptp', { ipam: addresses.ipam }), place);
    assert.equal((await ip(pod.path, 'link', 'show', 'net7')).length, 1);
    await ip(undefined, 'link', 'del', 'net7');
  });

  test('an address that the node reaches elsewhere is refused, naming where, and leaves nothing', async () => {
    await using addresses = await hostLocalAddresses();
    await using others = await hostLocalAddresses();
    await using one = await testNamespace();
    await using two = await testNamespace();
    await using first = await added(config('ptp', { ipam: addresses.ipam }), attachment(one.path));
    const before = await statesOf(two.path);
    const second = runner.add(config('ptp', { ipam: others.ipam }), attachment(two.path, { containerId: 'c2' }));
    await assert.rejects(second, (error) => {
      assert(error instanceof CniError);
      assert.match(error.message, /^failed to add route on host: add route 10\.1\.2\.2\/32 .*file exists/i);
      assert.match(
        error.details,
        new RegExp(`^the node reaches 10\\.1\\.2\\.2/32 through interface ${first.interfaces[0]?.name}: `),
      );
      return true;
    });
    assert.deepEqual(await statesOf(two.path), before);
    assert.deepEqual(await others.reserved(), []);
  });

  test('a DEL releases all when the namespace is gone, and when none is named', async () => {
    for (const netns of ['/run/netns/plx-none', '']) {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      await using empty = await testNamespace();
      const before = await statesOf(empty.path);
      const network = config('ptp', { ipam: addresses.ipam });
      const result = await runner.add(network, attachment(pod.path));
      for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(netns));
      assert.deepEqual(await statesOf(empty.path), before);
      assert.deepEqual(await addresses.reserved(), []);
    }
  });

  test('a DEL without the namespace touches no interface that is not the veth of the ADD', async () => {
    await using addresses = await hostLocalAddresses();
    await ip(undefined, 'link', 'add', 'veth00000001', 'type', 'veth', 'peer', 'name', 'veth00000002');
    const before = await stateOf(undefined);
    const interfaces = ['lo', 'veth00000001', 'veth00000003'].map((name) => ({ name, mac: '02:00:00:00:00:01' }));
    const network = config('ptp', { ipam: addresses.ipam });
    await runner.delete(withResult(network, { interfaces, ips: [], routes: [], dns: {} }), attachment(''));
    assert.deepEqual(await stateOf(undefined), before);
    await ip(undefined, 'link', 'del', 'veth00000001');
  });

  test('a CHECK finds a lost address, a lost route, another kind of interface and none', async () => {
    await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16' }] });
    await using pod = await testNamespace();
    const network = config('ptp', { ipam: addresses.ipam });
    const result = await runner.add(network, attachment(pod.path));
    const checked = withResult(network, result);
    const check = () => runner.check(checked, attachment(pod.path));
    await check();
    await ip(pod.path, 'route', 'del', '10.9.0.0/16');
    await assert.rejects(check, /Expected Route 10\.9\.0\.0\/16 not found in routing table/);
    await ip(pod.path, 'address', 'flush', 'dev', 'net1');
    await assert.rejects(check, /Failed to match addr 10\.1\.2\.2\/24 on interface net1/);
    await ip(pod.path, 'link', 'del', 'net1');
    await assert.rejects(check, /interface "net1" not found/);
    await ip(pod.path, 'link', 'add', 'net1', 'type', 'bridge');
    const bare = { ...result, interfaces: [{ name: 'net1', sandbox: pod.path }], ips: [], routes: [] };
    const other = runner.check(withResult(network, bare), attachment(pod.path));
    await assert.rejects(other, /Container interface net1 not of type veth\/p2p/);
  });
});
