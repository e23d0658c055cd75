import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import type { Attachment, PluginConfig } from '../../src/cni/plugin.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';

becomeNode();

/** Bridges outlive their containers: each test begins without. */
afterEach(async () => {
  for (const { ifname } of await ip(undefined, 'link', 'show', 'type', 'bridge')) {
    if (ifname !== undefined) await ip(undefined, 'link', 'del', `${ifname}`);
  }
});

const dualStack = {
  ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  routes: [{ dst: '10.9.0.0/16' }, { dst: 'fd09::/32' }],
};

const network = (keys: JsonObject): PluginConfig => config('bridge', { bridge: 'br0', ...keys });

const statesOf = async (netns: string) => [await stateOf(undefined), await stateOf(netns)];

const routesOf = async (netns: string): Promise<string[]> =>
  (await stateOf(netns)).filter((line) => line.startsWith('route')).map((line) => line.replace(/^route /, ''));

/** An attachment that goes before its namespace does: the kernel takes its time with what is left in one. */
async function added(network: PluginConfig, place: Attachment) {
  const result = await runner.add(network, place);
  return { ...result, [Symbol.asyncDispose]: () => runner.delete(withResult(network, result), place) };
}

test('an ADD makes a bridge with a port that leads to the container, and its DEL takes the port back, twice', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using pod = await testNamespace();
  const isGateway = network({ isGateway: true, ipam: addresses.ipam });
  const result = await runner.add(isGateway, attachment(pod.path));

  const [bridge, port, container] = result.interfaces;
  const [onNode] = await ip(undefined, 'link', 'show', port?.name ?? '');
  const [inPod] = await ip(pod.path, 'link', 'show', 'net1');
  const [br0] = await ip(undefined, 'link', 'show', 'br0');
  assert.match(port?.name ?? '', /^veth[0-9a-f]{8}$/);
  assert.deepEqual(bridge, { name: 'br0', mac: br0?.['address'] });
  assert.deepEqual(port, { name: port?.name, mac: onNode?.['address'] });
  assert.deepEqual(container, { name: 'net1', mac: inPod?.['address'], sandbox: pod.path });
  assert.deepEqual(
    [onNode?.['master'], onNode?.['operstate'], onNode?.['ifindex'], inPod?.['operstate']],
    ['br0', 'UP', inPod?.['link_index'], 'UP'],
  );
  assert.deepEqual(result.ips, [
    { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 2 },
    { address: 'fd00:1::2/64', gateway: 'fd00:1::1', interface: 2 },
  ]);
  const withBridge = await stateOf(undefined);
  assert.ok(withBridge.includes('address 10.1.2.1/24 on br0') && withBridge.includes('address fd00:1::1/64 on br0'));
  assert.deepEqual(await routesOf(pod.path), [
    '10.1.2.0/24 via link net1 link 10.1.2.2',
    '10.9.0.0/16 via 10.1.2.1 net1 global any',
    'fd00:1::/64 via link net1 global any',
    'fd09::/32 via fd00:1::1 net1 global any',
  ]);
  const sysctls = [
    [NetworkNamespace.host(), '1', 'ipv4', 'ip_forward'],
    [NetworkNamespace.host(), '1', 'ipv6', 'conf', 'all', 'forwarding'],
    [NetworkNamespace.host(), '0', 'ipv6', 'conf', 'br0', 'accept_ra'],
    [NetworkNamespace.host(), '0', 'ipv6', 'conf', port?.name ?? '', 'accept_ra'],
    [pod.namespace, '1', 'ipv4', 'conf', 'net1', 'arp_notify'],
    [pod.namespace, '0', 'ipv6', 'conf', 'net1', 'accept_dad'],
  ] as const;
  for (const [namespace, value, ...name] of sysctls) {
    assert.equal(await readSysctl(namespace, ...name), value, name.join('.'));
  }
  await runner.check(withResult(isGateway, result), attachment(pod.path));

  for (const _ of [1, 2]) await runner.delete(withResult(isGateway, result), attachment(pod.path));
  const withoutPort = withBridge.filter((line) => !line.includes(`${port?.name}`));
  assert.deepEqual(await stateOf(undefined), withoutPort);
  assert.deepEqual(await stateOf(pod.path), [(await stateOf(pod.path))[0]]);
  assert.deepEqual(await addresses.reserved(), []);
});

test('a network of layer 2 has an interface without addresses, which CHECK accepts', async () => {
  await using pod = await testNamespace();
  const layer2 = network({ isGateway: true, ipMasq: true });
  await using result = await added(layer2, attachment(pod.path));
  assert.deepEqual([result.ips, result.routes, result.dns], [[], [], {}]);
  const [inPod] = await ip(pod.path, 'link', 'show', 'net1');
  assert.equal(inPod?.['operstate'], 'UP');
  assert.ok(!(await stateOf(undefined)).some((line) => line.startsWith('address')));
  await runner.check(withResult(layer2, result), attachment(pod.path));
});

describe('keys', () => {
  const slave = 'info_slave_data';
  const keys: readonly {
    readonly keys: JsonObject;
    readonly args?: string;
    readonly bridge?: object;
    readonly port?: object;
    readonly container?: object;
  }[] = [
    { keys: { bridge: 'cni0' }, bridge: { ifname: 'cni0' } },
    { keys: { mtu: 1400 }, bridge: { mtu: 1400 }, port: { mtu: 1400 }, container: { mtu: 1400 } },
    {
      keys: {},
      bridge: { mtu: 1500, flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'] },
      port: { linkinfo: { [slave]: { hairpin: false, isolated: false } } },
      container: { mtu: 1500 },
    },
    { keys: { hairpinMode: true }, port: { linkinfo: { [slave]: { hairpin: true, isolated: false } } } },
    { keys: { portIsolation: true }, port: { linkinfo: { [slave]: { hairpin: false, isolated: true } } } },
    { keys: { promiscMode: true }, bridge: { flags: ['BROADCAST', 'MULTICAST', 'PROMISC', 'UP', 'LOWER_UP'] } },
    {
      keys: { disableContainerInterface: true },
      port: { operstate: 'DOWN' },
      container: { operstate: 'DOWN', flags: ['BROADCAST', 'MULTICAST'] },
    },
    { keys: {}, args: 'MAC=02:00:00:00:00:0B', container: { address: '02:00:00:00:00:0b' } },
    {
      keys: { args: { cni: { mac: '02:00:00:00:00:0a' } } },
      args: 'IgnoreUnknown=1;K8S_POD_NAME=p;MAC=02:00:00:00:00:0b',
      container: { address: '02:00:00:00:00:0a' },
    },
    {
      keys: { args: { cni: { mac: '02:00:00:00:00:0a' } }, runtimeConfig: { mac: '02:00:00:00:00:0c' } },
      args: 'MAC=02:00:00:00:00:0b',
      container: { address: '02:00:00:00:00:0c' },
    },
  ];
  for (const { keys: given, args = '', bridge = {}, port = {}, container = {} } of keys) {
    test(`${JSON.stringify(given)} with CNI_ARGS "${args}"`, async () => {
      await using pod = await testNamespace();
      const place = attachment(pod.path, { args });
      const layer2 = network(given);
      await using result = await added(layer2, place);
      const [bridgeName = '', portName = ''] = result.interfaces.map(({ name }) => name);
      const seen = [
        ...(await ip(undefined, 'link', 'show', bridgeName)),
        ...(await ip(undefined, 'link', 'show', portName)),
        ...(await ip(pod.path, 'link', 'show', 'net1')),
      ];
      assert.partialDeepStrictEqual(seen, [bridge, port, container]);
      await runner.check(withResult(layer2, result), place);
    });
  }

  test('a container looks for duplicates of its addresses where enabledad says so', async () => {
    await using addresses = await hostLocalAddresses({ subnet: 'fd00:1::/64' });
    await using pod = await testNamespace();
    await using _result = await added(network({ enabledad: true, ipam: addresses.ipam }), attachment(pod.path));
    for (const name of ['accept_dad', 'enhanced_dad']) {
      assert.equal(await readSysctl(pod.namespace, 'ipv6', 'conf', 'net1', name), '1');
    }
    const [link] = await ip(pod.path, 'address', 'show', 'net1');
    assert.doesNotMatch(
      JSON.stringify(link),
      /"local":"fd00:1::2"[^}]*"tentative":true/,
      'it is looked for before use',
    );
  });

  const fromIpam = { nameservers: ['10.1.2.53'] };
  for (const [dns, expected] of [
    [{}, fromIpam],
    [{ search: ['cluster.local'] }, { search: ['cluster.local'] }],
  ] as const) {
    test(`the result's dns is ${JSON.stringify(expected)} where the configuration says ${JSON.stringify(dns)}`, async () => {
      await using pod = await testNamespace();
      const ipam = { type: 'static', addresses: [{ address: '10.1.2.5/24' }], dns: fromIpam };
      await using result = await added(network({ dns, ipam }), attachment(pod.path));
      assert.deepEqual(result.dns, expected);
    });
  }
});

describe('what is refused leaves nothing', () => {
  const vlanRange = 'expected a VLAN ID from 1 to 4094';
  const refused: readonly {
    readonly what: string;
    readonly keys: JsonObject;
    readonly message: RegExp;
    readonly args?: string;
    readonly netns?: string;
    readonly code?: number;
  }[] = [
    {
      what: 'hairpin and promiscuous mode',
      keys: { hairpinMode: true, promiscMode: true },
      message: /: cannot set hairpin mode and promiscuous mode at the same time$/,
    },
    {
      what: 'addresses for an interface that stays down',
      keys: { disableContainerInterface: true },
      message: /: cannot use IPAM when DisableContainerInterface flag is set$/,
    },
    { what: 'a VLAN beyond the last', keys: { vlan: 4095 }, message: /vlan: expected a VLAN ID .*, found 4095$/ },
    { what: 'a VLAN below the first', keys: { vlan: -1 }, message: /vlan: expected a VLAN ID .*, found -1$/ },
    ...['id', 'minID', 'maxID'].flatMap((key) =>
      [0, 4095].map((id) => ({
        what: `${key} ${id} in a trunk`,
        keys: { vlanTrunk: [{ id: 7 }, { [key]: id }] },
        message: new RegExp(`vlanTrunk\\[1\\]\\.${key}: ${vlanRange}, found ${id}`),
      })),
    ),
    {
      what: 'a trunk without an end',
      keys: { vlanTrunk: [{ minID: 5 }] },
      message: /vlanTrunk\[0\]: minID and maxID should be configured simultaneously, maxID is missing$/,
    },
    {
      what: 'a trunk without a beginning',
      keys: { vlanTrunk: [{ maxID: 5 }] },
      message: /vlanTrunk\[0\]: minID and maxID should be configured simultaneously, minID is missing$/,
    },
    {
      what: 'a trunk that ends before it begins',
      keys: { vlanTrunk: [{ minID: 9, maxID: 5 }] },
      message: /vlanTrunk\[0\]: minID 9 is greater than maxID 5$/,
    },
    {
      what: 'a name that no bridge can have',
      keys: { bridge: 'a/b' },
      message: /bridge: expected the name of a bridge, .*, found "a\/b"$/,
    },
    {
      what: 'a bridge whose VLAN has no name',
      keys: { bridge: 'br0123456789', vlan: 100, isGateway: true },
      message: /bridge: the gateway of VLAN 100 would be interface "br0123456789\.100", a name longer than 15 bytes$/,
    },
    { what: 'a negative MTU', keys: { mtu: -1 }, message: /mtu: expected at least 0, found -1$/ },
    {
      what: 'an MTU that no kernel takes',
      keys: { mtu: 70_000 },
      message: /^failed to create bridge "br0": .*invalid/i,
    },
    { what: 'a MAC address that is none', keys: {}, args: 'MAC=zz', message: /CNI_ARGS: MAC: expected/, code: 4 },
    { what: 'an argument nobody knows', keys: {}, args: 'FOO=1', message: /^ARGS: unknown args \["FOO=1"\]$/ },
    {
      what: 'IPAM without an address',
      keys: { ipam: { type: 'static' } },
      message: /^IPAM plugin returned missing IP/,
    },
    { what: 'an IPAM plugin that is nowhere', keys: { ipam: { type: 'nowhere' } }, message: /"nowhere"/ },
    {
      what: 'a namespace that is gone',
      keys: {},
      netns: '/run/netns/plx-none',
      message: /^failed to open netns/,
      code: 8,
    },
    {
      what: 'a route that the kernel refuses',
      keys: {
        ipam: {
          type: 'static',
          addresses: [{ address: '10.1.2.5/24' }],
          routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }],
        },
      },
      message: /^interface "net1": add route 10\.9\.0\.0\/16 via 192\.0\.2\.1 .*network is unreachable/i,
    },
  ];
  for (const { what, keys, message, args = '', netns, code } of refused) {
    test(what, async () => {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const before = await statesOf(pod.path);
      await assert.rejects(
        runner.add(
          network({ isGateway: true, ipam: addresses.ipam, ...keys }),
          attachment(netns ?? pod.path, { args }),
        ),
        (error) => error instanceof CniError && message.test(error.message) && (code ?? error.code) === error.code,
      );
      assert.deepEqual(await statesOf(pod.path), before);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a VLAN where the kernel has no bridges that tell them apart', async (t) => {
    await using pod = await testNamespace();
    const before = await statesOf(pod.path);
    const outcome = runner.add(network({ vlan: 100 }), attachment(pod.path));
    const error = await outcome.catch((thrown: unknown) => thrown);
    if (!(error instanceof CniError)) {
      await runner.delete(network({ vlan: 100 }), attachment(pod.path));
      return t.skip('the kernel has them');
    }
    assert.match(error.message, /^failed to create bridge "br0": create bridge br0: /);
    assert.match(error.details, /no bridges that tell VLANs apart \(CONFIG_BRIDGE_VLAN_FILTERING\)$/);
    assert.deepEqual(await statesOf(pod.path), before);
  });

  test('a name on the node that is no bridge', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await ip(undefined, 'link', 'add', 'um0', 'type', 'ifb');
    const before = await statesOf(pod.path);
    const wrong = network({ bridge: 'um0', promiscMode: true, ipam: addresses.ipam });
    await assert.rejects(runner.add(wrong, attachment(pod.path)), {
      message: '"um0" already exists but is not a bridge',
      details: 'it is of kind ifb: name another bridge',
    });
    assert.deepEqual(await statesOf(pod.path), before);
    const [um0] = await ip(undefined, 'link', 'show', 'um0');
    assert.deepEqual(um0?.['flags'], ['BROADCAST', 'NOARP']);
    await ip(undefined, 'link', 'del', 'um0');
  });

  test('on a bridge that was there, which is then as it was', async () => {
    await using pod = await testNamespace();
    await ip(undefined, 'link', 'add', 'br0', 'address', '02:00:00:00:0b:01', 'up', 'type', 'bridge');
    const flags = async () => (await ip(undefined, 'link', 'show', 'br0'))[0]?.['flags'];
    const before = [await flags(), ...(await statesOf(pod.path))];
    const broken = network({ promiscMode: true, ipam: { type: 'static' } });
    await assert.rejects(runner.add(broken, attachment(pod.path)), /missing IP config/);
    assert.deepEqual([await flags(), ...(await statesOf(pod.path))], before);
  });

  test('a name in the container that is taken, and what has it stays', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const isGateway = network({ isGateway: true, ipam: addresses.ipam });
    await using first = await added(isGateway, attachment(pod.path));
    const before = await statesOf(pod.path);
    for (const containerId of ['c1', 'c2']) {
      const second = runner.add(isGateway, attachment(pod.path, { containerId }));
      await assert.rejects(second, /interface "net1" already exists in/);
    }
    assert.deepEqual(await statesOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
    await runner.check(withResult(isGateway, first), attachment(pod.path));
  });
});

test("a bridge's MAC address stays as ports come and go", async () => {
  const macOf = async () => (await ip(undefined, 'link', 'show', 'br0'))[0]?.['address'];
  await using one = await testNamespace();
  await using two = await testNamespace();
  // The kernel would take the lowest there is.
  await using first = await added(network({ runtimeConfig: { mac: '02:00:00:00:00:0a' } }), attachment(one.path));
  const mac = await macOf();
  assert.equal(first.interfaces[0]?.mac, mac);
  const second = await runner.add(network({}), attachment(two.path));
  await ip(undefined, 'link', 'set', second.interfaces[1]?.name ?? '', 'address', '02:00:00:00:00:01');
  assert.equal(await macOf(), mac);
  await runner.delete(network({}), attachment(two.path));
  assert.equal(await macOf(), mac);
});

test('a bridge of the administrator keeps its settings, and its MAC address once it is a gateway', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await ip(undefined, 'link', 'add', 'br0', 'mtu', '1280', 'type', 'bridge', 'forward_delay', '300');
  await using result = await added(network({ isGateway: true, ipam: addresses.ipam }), attachment(pod.path));
  const [br0] = await ip(undefined, 'link', 'show', 'br0');
  assert.partialDeepStrictEqual(br0, {
    address: result.interfaces[0]?.mac,
    linkinfo: { info_data: { forward_delay: 300 } },
  });
  assert.equal(await readSysctl(NetworkNamespace.host(), 'ipv6', 'conf', 'br0', 'accept_ra'), '1');
  await ip(undefined, 'link', 'set', result.interfaces[1]?.name ?? '', 'address', '02:00:00:00:00:01');
  assert.equal((await ip(undefined, 'link', 'show', 'br0'))[0]?.['address'], result.interfaces[0]?.mac);
});

test('a DEL releases all when the namespace is gone, and when none is named', async () => {
  for (const netns of ['/run/netns/plx-none', '']) {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const isGateway = network({ isGateway: true, ipam: addresses.ipam });
    const result = await runner.add(isGateway, attachment(pod.path));
    for (const _ of [1, 2]) await runner.delete(withResult(isGateway, result), attachment(netns));
    assert.deepEqual(await ip(undefined, 'link', 'show', 'master', 'br0'), []);
    assert.deepEqual(await addresses.reserved(), []);
  }
});

test('a DEL needs no more of the configuration than it can read', async () => {
  await using pod = await testNamespace();
  const place = attachment(pod.path);
  await runner.add(network({}), place);
  await runner.delete(network({ bridge: '', vlan: 'x', ipMasq: 'yes', macspoofchk: 1, hairpinMode: null }), place);
  assert.equal((await ip(pod.path, 'link')).length, 1);
});

test('a CHECK finds what is lost', async () => {
  await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16' }] });
  await using pod = await testNamespace();
  const keys = { promiscMode: true, portIsolation: true, ipam: addresses.ipam };
  const result = await runner.add(network(keys), attachment(pod.path));
  const check = (given = keys) => runner.check(withResult(network(given), result), attachment(pod.path));
  const port = result.interfaces[1]?.name ?? '';
  const losses: readonly (readonly [RegExp, ...words: string[]])[] = [
    [/configured Promisc Mode true doesn't match/, 'link', 'set', 'br0', 'promisc', 'off'],
    [/port veth\w+ of bridge br0 is not isolated/, 'link', 'set', port, 'type', 'bridge_slave', 'isolated', 'off'],
    [/hairpin mode of port veth\w+ is not false/, 'link', 'set', port, 'type', 'bridge_slave', 'hairpin', 'on'],
    [/CNI veth created for bridge br0 was not found/, 'link', 'set', port, 'nomaster'],
    [/Interface name br0 not found/, 'link', 'del', 'br0'],
  ];
  await check();
  for (const [message, ...words] of losses) {
    await ip(undefined, ...words);
    await assert.rejects(check(), message);
    if (message.source.includes('Promisc')) await ip(undefined, 'link', 'set', 'br0', 'promisc', 'on');
    if (message.source.includes('isolated'))
      await ip(undefined, 'link', 'set', port, 'type', 'bridge_slave', 'isolated', 'on');
  }
  await ip(pod.path, 'route', 'del', '10.9.0.0/16');
  await assert.rejects(check(), /Expected Route 10\.9\.0\.0\/16 not found in routing table/);
  await ip(pod.path, 'address', 'flush', 'dev', 'net1');
  await assert.rejects(check(), /Failed to match addr 10\.1\.2\.2\/24 on interface net1/);
  await ip(pod.path, 'link', 'del', 'net1');
  await assert.rejects(check(), /interface "net1" not found/);
});

test('STATUS and GC reach the IPAM plugin', async () => {
  await using addresses = await hostLocalAddresses();
  await using one = await testNamespace();
  await using two = await testNamespace();
  const plain = network({ ipam: addresses.ipam });
  await runner.status(plain, []);
  await assert.rejects(runner.status(network({ ipam: { ...addresses.ipam, subnet: '10.1.2.0/31' } }), []), CniError);
  await using _kept = await added(plain, attachment(one.path));
  await using _lost = await added(plain, attachment(two.path, { containerId: 'c2' }));
  await runner.gc({ ...plain, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'net1' }] }, []);
  assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
});
