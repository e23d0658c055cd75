import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import type { PluginConfig } from '../../src/cni/plugin.ts';
import { withGateways } from '../../src/plugins/bridge/gateway.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';

becomeNode();

afterEach(async () => {
  for (const { ifname } of await ip(undefined, 'link', 'show', 'type', 'bridge')) {
    if (ifname !== undefined) await ip(undefined, 'link', 'del', `${ifname}`);
  }
});

const network = (keys: JsonObject): PluginConfig => config('bridge', { bridge: 'br0', isGateway: true, ...keys });

const addressesOf = async (name: string): Promise<string[]> => {
  const ofInterface = new RegExp(`^address (.*) on ${name}$`);
  return (await stateOf(undefined)).flatMap((line) => ofInterface.exec(line)?.[1] ?? []);
};

describe('gateways and default routes', () => {
  const v4 = '0.0.0.0/0';
  const cases: readonly {
    readonly title: string;
    readonly settings: { isGateway?: boolean; isDefaultGateway?: boolean };
    readonly ips: readonly { address: string; gateway?: string }[];
    readonly routes?: readonly { dst: string; gw?: string; table?: number }[];
    readonly gateways: readonly (string | undefined)[];
    readonly expected: readonly { dst: string; gw?: string; table?: number }[];
  }[] = [
    {
      title: 'none are made up where the bridge is no gateway',
      settings: {},
      ips: [{ address: '10.1.2.5/24' }, { address: '10.1.3.5/24', gateway: '10.1.3.9' }],
      gateways: [undefined, '10.1.3.9'],
      expected: [],
    },
    {
      title: "the first address of the subnet is one, unless the IPAM plugin says another's",
      settings: { isGateway: true },
      ips: [
        { address: '10.1.2.5/24' },
        { address: '10.1.2.129/25' },
        { address: '10.7.0.5/32' },
        { address: 'fd00:1::5/64' },
        { address: '10.1.3.5/24', gateway: '10.1.3.9' },
      ],
      gateways: ['10.1.2.1', '10.1.2.129', '10.7.0.6', 'fd00:1::1', '10.1.3.9'],
      expected: [],
    },
    {
      title: 'each family has a default route, through its first gateway',
      settings: { isGateway: true, isDefaultGateway: true },
      ips: [{ address: '10.1.2.5/24' }, { address: '10.1.3.5/24' }, { address: 'fd00:1::5/64' }],
      gateways: ['10.1.2.1', '10.1.3.1', 'fd00:1::1'],
      expected: [
        { dst: v4, gw: '10.1.2.1' },
        { dst: '::/0', gw: 'fd00:1::1' },
      ],
    },
    ...[{ dst: v4 }, { dst: v4, gw: '10.1.2.9' }, { dst: v4, gw: '10.1.2.9', table: 100 }].map((route) => ({
      title: `${JSON.stringify(route)} of the IPAM plugin is the default route`,
      settings: { isGateway: true, isDefaultGateway: true },
      ips: [{ address: '10.1.2.5/24' }],
      routes: [route],
      gateways: ['10.1.2.1'],
      expected: [route],
    })),
    {
      title: 'a default route of another family, or in a table without a gateway, is not the one',
      settings: { isGateway: true, isDefaultGateway: true },
      ips: [{ address: '10.1.2.5/24' }],
      routes: [{ dst: '::/0' }, { dst: v4, table: 100 }, { dst: '0.0.0.0/1', gw: '10.1.2.9' }],
      gateways: ['10.1.2.1'],
      expected: [
        { dst: '::/0' },
        { dst: v4, table: 100 },
        { dst: '0.0.0.0/1', gw: '10.1.2.9' },
        { dst: v4, gw: '10.1.2.1' },
      ],
    },
  ];
  for (const { title, settings, ips, routes = [], gateways, expected } of cases) {
    test(title, () => {
      const result = withGateways({ ips, routes }, { isGateway: false, isDefaultGateway: false, ...settings });
      assert.deepEqual([result.ips.map(({ gateway }) => gateway), result.routes], [gateways, expected]);
    });
  }

  test('isDefaultGateway makes the bridge the gateway, and the way to everywhere', async () => {
    await using addresses = await hostLocalAddresses({
      ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    });
    await using pod = await testNamespace();
    const isDefault = network({ isGateway: false, isDefaultGateway: true, ipam: addresses.ipam });
    const result = await runner.add(isDefault, attachment(pod.path));
    assert.deepEqual(await addressesOf('br0'), ['10.1.2.1/24', 'fd00:1::1/64']);
    const routes = (await stateOf(pod.path)).filter((line) => line.startsWith('route default'));
    assert.deepEqual(routes, [
      'route default via 10.1.2.1 net1 global any',
      'route default via fd00:1::1 net1 global any',
    ]);
    await runner.check(withResult(isDefault, result), attachment(pod.path));
    await runner.delete(isDefault, attachment(pod.path));
  });
});

describe('the addresses of a bridge', () => {
  const cases: readonly {
    readonly title: string;
    readonly present: readonly string[];
    readonly addresses: readonly { address: string; gateway?: string }[];
    readonly force?: boolean;
    readonly error?: RegExp;
    /** Afterwards. Default: those that were there. */
    readonly expected?: readonly string[];
  }[] = [
    { title: 'a first one', present: [], addresses: [{ address: '10.1.2.5/24' }], expected: ['10.1.2.1/24'] },
    { title: 'the one that it has', present: ['10.1.2.1/24'], addresses: [{ address: '10.1.2.5/24' }] },
    {
      title: 'the one that it has beside another',
      present: ['10.0.0.1/8', '10.1.2.1/24'],
      addresses: [{ address: '10.1.2.5/24' }],
    },
    {
      title: 'another of IPv4 is in the way',
      present: ['192.168.0.1/24'],
      addresses: [{ address: '10.1.2.5/24' }],
      error: /^"br0" already has an IP address different from 10\.1\.2\.1\/24$/,
    },
    {
      title: 'the same of another length is in the way',
      present: ['10.1.2.1/16'],
      addresses: [{ address: '10.1.2.5/24' }],
      error: /^"br0" already has an IP address different from 10\.1\.2\.1\/24$/,
    },
    {
      title: 'with forceAddress, those of IPv4 make room',
      present: ['10.0.0.1/8', '192.168.0.1/24', '192.168.0.2/24', 'fd00:5::1/64'],
      addresses: [{ address: '10.1.2.5/16', gateway: '10.1.2.3' }],
      force: true,
      expected: ['10.1.2.3/16', 'fd00:5::1/64'],
    },
    {
      title: "another subnet of IPv6 is in nobody's way",
      present: ['fd00:5::1/64'],
      addresses: [{ address: 'fd00:1::5/64' }],
      expected: ['fd00:1::1/64', 'fd00:5::1/64'],
    },
    {
      title: 'another address of the same subnet of IPv6 is in the way',
      present: ['fd00:1::9/64'],
      addresses: [{ address: 'fd00:1::5/64' }],
      error: /^"br0" already has an IP address different from fd00:1::1\/64$/,
    },
    {
      title: 'a subnet of IPv6 within the other is in the way',
      present: ['fd00:1:2::9/64'],
      addresses: [{ address: 'fd00:1::5/32' }],
      error: /^"br0" already has an IP address different from fd00:1::1\/32$/,
    },
    {
      title: 'with forceAddress, those of IPv6 in the same subnet make room',
      present: ['fd00:1::9/64', 'fd00:5::1/64', '10.0.0.1/8'],
      addresses: [{ address: 'fd00:1::5/64' }],
      force: true,
      expected: ['10.0.0.1/8', 'fd00:1::1/64', 'fd00:5::1/64'],
    },
    {
      title: 'several subnets of one network',
      present: [],
      addresses: [{ address: '10.1.2.5/24' }, { address: '10.1.3.5/24' }, { address: 'fd00:1::5/64' }],
      expected: ['10.1.2.1/24', '10.1.3.1/24', 'fd00:1::1/64'],
    },
    {
      title: 'one gateway of several addresses',
      present: [],
      addresses: [{ address: '10.1.2.5/24' }, { address: '10.1.2.6/24' }],
      expected: ['10.1.2.1/24'],
    },
  ];
  for (const { title, present, addresses, force = false, error, expected = present } of cases) {
    test(title, async () => {
      await using pod = await testNamespace();
      await ip(undefined, 'link', 'add', 'br0', 'address', '02:00:00:00:0b:01', 'up', 'type', 'bridge');
      for (const address of present) await ip(undefined, 'address', 'add', address, 'dev', 'br0');
      const place = attachment(pod.path);
      const wanted = network({ forceAddress: force, ipam: { type: 'static', addresses } });
      if (error === undefined) {
        const result = await runner.add(wanted, place);
        await runner.check(withResult(wanted, result), place);
        await runner.delete(wanted, place);
      } else {
        const before = [await stateOf(undefined), await stateOf(pod.path)];
        await assert.rejects(runner.add(wanted, place), { message: error });
        assert.deepEqual([await stateOf(undefined), await stateOf(pod.path)], before);
      }
      assert.deepEqual((await addressesOf('br0')).toSorted(), expected.toSorted());
    });
  }

  test('a gateway may be one of the link only', async () => {
    await using pod = await testNamespace();
    const addresses = [{ address: 'fd00:1::5/64', gateway: 'fe80::1' }];
    const routes = [{ dst: '::/0' }];
    const wanted = network({ ipam: { type: 'static', addresses, routes } });
    await runner.add(wanted, attachment(pod.path));
    const [br0] = await ip(undefined, 'address', 'show', 'br0');
    assert.match(JSON.stringify(br0), /"local":"fe80::1"/);
    assert.ok((await stateOf(pod.path)).includes('route default via fe80::1 net1 global any'));
    await runner.delete(wanted, attachment(pod.path));
  });

  test('an ADD that fails afterwards gives addresses back that had to make room', async () => {
    await using pod = await testNamespace();
    await ip(undefined, 'link', 'add', 'br0', 'address', '02:00:00:00:0b:01', 'up', 'type', 'bridge');
    for (const address of ['10.0.0.1/8', '10.0.0.2/8']) await ip(undefined, 'address', 'add', address, 'dev', 'br0');
    const before = [await stateOf(undefined), await stateOf(pod.path)];
    await using directory = await testDirectory();
    await writeFile(join(directory.path, 'nft'), '#!/bin/sh\necho not supported >&2\nexit 1\n', { mode: 0o755 });
    const path = process.env['PATH'];
    process.env['PATH'] = `${directory.path}:${path}`;
    try {
      const ipam = { type: 'static', addresses: [{ address: '10.1.2.5/24' }] };
      const wanted = network({ forceAddress: true, ipMasq: true, ipMasqBackend: 'nftables', ipam });
      await assert.rejects(runner.add(wanted, attachment(pod.path)), /^CniError: network "test-net": ipMasq: nft: /);
    } finally {
      process.env['PATH'] = path;
    }
    assert.deepEqual([await stateOf(undefined), await stateOf(pod.path)], before);
  });
});

describe('ADDs at once', () => {
  async function pods(count: number) {
    const stack = new AsyncDisposableStack();
    const made = await Promise.all(Array.from({ length: count }, testNamespace));
    for (const pod of made) stack.use(pod);
    return { places: made.map(({ path }, i) => attachment(path, { containerId: `c${i}` })), stack };
  }
  const ipam = (i: number, keys: JsonObject = {}) => ({
    type: 'static',
    addresses: [{ address: `10.1.2.${i + 5}/24` }],
    ...keys,
  });
  const unreachable = { routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] };

  test('of a bridge that nobody has made yet all succeed', async () => {
    const { places, stack } = await pods(6);
    await using _pods = stack;
    const results = await Promise.all(places.map((place, i) => runner.add(network({ ipam: ipam(i) }), place)));
    const macs = new Set(results.map(({ interfaces }) => interfaces[0]?.mac));
    assert.equal(macs.size, 1);
    assert.deepEqual(await addressesOf('br0'), ['10.1.2.1/24']);
    assert.equal((await ip(undefined, 'link', 'show', 'master', 'br0')).length, 6);
    await Promise.all(places.map((place, i) => runner.delete(network({ ipam: ipam(i) }), place)));
    assert.equal((await ip(undefined, 'link', 'show', 'master', 'br0')).length, 0);
  });

  test('of which some fail leave the bridge to the others', async () => {
    const { places, stack } = await pods(6);
    await using _pods = stack;
    const given = places.map((_, i) => network({ ipam: ipam(i, i % 2 === 0 ? unreachable : {}) }));
    const outcomes = await Promise.allSettled(places.map((place, i) => runner.add(given[i] ?? network({}), place)));
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      places.map((_, i) => (i % 2 === 0 ? 'rejected' : 'fulfilled')),
    );
    assert.deepEqual(await addressesOf('br0'), ['10.1.2.1/24']);
    assert.equal((await ip(undefined, 'link', 'show', 'master', 'br0')).length, 3);
    await Promise.all(places.map((place, i) => runner.delete(given[i] ?? network({}), place)));
  });

  test('which all fail leave nothing', async () => {
    const { places, stack } = await pods(4);
    await using _pods = stack;
    const before = await stateOf(undefined);
    const failing = network({ ipam: ipam(0, unreachable) });
    const outcomes = await Promise.allSettled(places.map((place) => runner.add(failing, place)));
    for (const outcome of outcomes) {
      assert.ok(outcome.status === 'rejected' && outcome.reason instanceof CniError);
      assert.match(outcome.reason.message, /network is unreachable/i);
    }
    assert.deepEqual(await stateOf(undefined), before);
  });

  test('of two networks that want other addresses of one bridge: one of them has it', async () => {
    const { places, stack } = await pods(2);
    await using _pods = stack;
    const outcomes = await Promise.allSettled(
      places.map((place, i) => {
        const other = { type: 'static', addresses: [{ address: `10.${i}.2.5/24` }] };
        return runner.add({ ...network({ ipam: other }), name: `net-${i}` }, place);
      }),
    );
    assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);
    assert.equal((await addressesOf('br0')).length, 1);
    assert.equal((await ip(undefined, 'link', 'show', 'master', 'br0')).length, 1);
    await Promise.all(places.map((place) => runner.delete(network({}), place)));
  });
});
