import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';

becomeNode();
before(async () => {
  await addWire('ens5');
  await addWire('ens6', 1400);
});

describe('macvlan', () => {
  test('an ADD makes the interface with its addresses and routes, and its DEL takes all back, twice', async () => {
    await using addresses = await hostLocalAddresses({
      ranges: [[{ subnet: '10.1.2.0/24', gateway: '10.1.2.1' }], [{ subnet: 'fd00::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.1.2.9', mtu: 1300 }, { dst: '::/0' }],
    });
    await using pod = await testNamespace();
    const network = config('macvlan', { master: 'ens6', ipam: addresses.ipam, dns: { nameservers: ['10.1.2.53'] } });
    const result = await runner.add(network, attachment(pod.path));

    const [link] = await ip(pod.path, 'link', 'show', 'net1');
    assert.equal(link?.['mtu'], 1400);
    assert.deepEqual(link?.['linkinfo'], {
      info_kind: 'macvlan',
      info_data: { mode: 'bridge', bcqueuelen: 1000, usedbcqueuelen: 1000 },
    });
    assert.deepEqual(result, {
      interfaces: [{ name: 'net1', mac: link?.['address'], sandbox: pod.path }],
      ips: [
        { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 },
        { address: 'fd00::2/64', gateway: 'fd00::1', interface: 0 },
      ],
      routes: result.routes,
      dns: { nameservers: ['10.1.2.53'] },
    });
    const routes = [...(await ip(pod.path, 'route')), ...(await ip(pod.path, '-6', 'route'))];
    const ways = routes.map(({ dst, gateway }) => `${dst}${gateway === undefined ? '' : ` via ${gateway}`}`);
    assert.deepEqual(
      ways.filter((way) => !way.startsWith('fe80:')),
      ['default via 10.1.2.1', '10.1.2.0/24', '10.9.0.0/16 via 10.1.2.9', 'fd00::/64', 'default via fd00::1'],
    );
    assert.deepEqual(await addresses.reserved(), ['10.1.2.2', 'fd00::2']);
    await runner.check(withResult(network, result), attachment(pod.path));

    for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
    assert.equal((await ip(pod.path, 'link')).length, 1);
    assert.deepEqual(await addresses.reserved(), []);
  });

  const modes = ['bridge', 'private', 'vepa', 'passthru'] as const;
  for (const mode of modes) {
    test(`mode ${mode}, with an MTU and without addresses`, async () => {
      await using pod = await testNamespace();
      const network = config('macvlan', { master: 'ens5', mode, mtu: 1280 });
      const result = await runner.add(network, attachment(pod.path));
      const [link] = await ip(pod.path, 'link', 'show', 'net1');
      assert.match(JSON.stringify(link?.['linkinfo']), new RegExp(`"mode":"${mode}"`));
      assert.equal(link?.['mtu'], 1280);
      assert.match(JSON.stringify(link?.['flags']), /"UP"/);
      assert.deepEqual(result.ips, []);
      const other = config('macvlan', { master: 'ens5', mode: mode === 'vepa' ? 'bridge' : 'vepa' });
      await assert.rejects(
        runner.check(withResult(other, result), attachment(pod.path)),
        /mode \w+ does not match expected value/,
      );
      await runner.delete(network, attachment(pod.path));
    });
  }

  const macs = [
    { keys: { mac: '02:00:00:00:00:0A' }, args: '', expected: '02:00:00:00:00:0a' },
    { keys: { mac: '02:00:00:00:00:0a' }, args: 'MAC=02-00-00-00-00-0b', expected: '02:00:00:00:00:0b' },
    {
      keys: { runtimeConfig: { mac: '02:00:00:00:00:0c' } },
      args: 'IgnoreUnknown=1;MAC=02:00:00:00:00:0b;K8S_POD_NAME=p',
      expected: '02:00:00:00:00:0c',
    },
  ];
  for (const { keys, args, expected } of macs) {
    test(`the MAC address ${expected} counts where it is asked for by ${JSON.stringify(keys)} and "${args}"`, async () => {
      await using pod = await testNamespace();
      const network = config('macvlan', { master: 'ens5', ...keys });
      const { interfaces } = await runner.add(network, attachment(pod.path, { args }));
      assert.equal(interfaces[0]?.mac, expected);
      const [link] = await ip(pod.path, 'link', 'show', 'net1');
      assert.equal(link?.['address'], expected);
    });
  }

  test('the master may be an interface of the container, which is then told apart from the node', async () => {
    await using pod = await testNamespace();
    await runner.add(config('macvlan', { master: 'ens5' }), attachment(pod.path));
    const network = config('macvlan', { master: 'net1', linkInContainer: true });
    const result = await runner.add(network, attachment(pod.path, { ifName: 'net2' }));
    await runner.check(withResult(network, result), attachment(pod.path, { ifName: 'net2' }));
    const missing = config('macvlan', { master: 'ens5', linkInContainer: true });
    await assert.rejects(
      runner.add(missing, attachment(pod.path, { ifName: 'net3' })),
      /master "ens5" not found; the container \(.*\) has net1, net2/,
    );
  });

  const refused = [
    {
      what: 'a master that does not exist',
      keys: { master: 'ens9' },
      message: /^master "ens9" not found; this node has/,
    },
    { what: 'no master and no default route', keys: {}, message: /^no default route interface found/ },
    {
      what: "an MTU above the master's",
      keys: { mtu: 1401 },
      message: /invalid MTU 1401, must be \[0, master MTU\(1400\)\]/,
    },
    { what: 'a negative MTU', keys: { mtu: -1 }, message: /network "test-net": mtu: expected/ },
    {
      what: 'an unknown mode',
      keys: { mode: 'l2' },
      message: /mode: expected bridge, private, vepa or passthru, found "l2"/,
    },
    { what: 'a MAC address that is none', keys: { mac: '02:00' }, message: /mac: expected a MAC address/ },
    { what: 'an argument nobody knows', keys: {}, args: 'FOO=1', message: /ARGS: unknown args \["FOO=1"\]/ },
    {
      what: 'a namespace that is gone',
      keys: {},
      netns: '/run/netns/plx-none',
      message: /failed to open netns/,
      code: 8,
    },
  ];
  for (const { what, keys, message, args = '', netns, code } of refused) {
    test(`${what} is refused, and leaves nothing`, async () => {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const master = what.startsWith('no master') ? {} : { master: 'ens6' };
      const network = config('macvlan', { ...master, ipam: addresses.ipam, ...keys });
      await assert.rejects(
        runner.add(network, attachment(netns ?? pod.path, { args })),
        (error) => error instanceof CniError && message.test(error.message) && (code ?? error.code) === error.code,
      );
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a name that is taken is refused, and what has it stays', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const network = config('macvlan', { master: 'ens5', ipam: addresses.ipam });
    await runner.add(network, attachment(pod.path));
    const before = await stateOf(pod.path);
    const second = attachment(pod.path, { containerId: 'c2' });
    await assert.rejects(runner.add(network, second), /interface "net1" already exists in/);
    assert.deepEqual(await stateOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
  });

  test('an address that nobody can give, and a route that the kernel refuses, leave nothing', async () => {
    for (const keys of [
      { subnet: '10.1.2.0/30', rangeStart: '10.1.2.1', rangeEnd: '10.1.2.1' },
      { subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] },
    ]) {
      await using addresses = await hostLocalAddresses(keys);
      await using pod = await testNamespace();
      const network = config('macvlan', { master: 'ens5', ipam: addresses.ipam });
      await assert.rejects(runner.add(network, attachment(pod.path)), /in use|network is unreachable/);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
    }
  });

  test('a DEL releases the address when the namespace is gone, and when none is named', async () => {
    for (const netns of ['/run/netns/plx-none', '']) {
      await using addresses = await hostLocalAddresses();
      const pod = await testNamespace();
      const network = config('macvlan', { master: 'ens5', ipam: addresses.ipam });
      await runner.add(network, attachment(pod.path));
      await pod[Symbol.asyncDispose]();
      await runner.delete(network, attachment(netns));
      assert.deepEqual(await addresses.reserved(), []);
    }
  });

  test('a CHECK finds a lost address, a lost route and a lost interface', async () => {
    await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16' }] });
    await using pod = await testNamespace();
    const network = config('macvlan', { master: 'ens5', ipam: addresses.ipam });
    const checked = withResult(network, await runner.add(network, attachment(pod.path)));
    const check = () => runner.check(checked, attachment(pod.path));
    await check();
    await ip(pod.path, 'route', 'del', '10.9.0.0/16');
    await assert.rejects(check, /Expected Route 10\.9\.0\.0\/16 not found in routing table/);
    await ip(pod.path, 'address', 'flush', 'dev', 'net1');
    await assert.rejects(check, /Failed to match addr 10\.1\.2\.2\/24 on interface net1/);
    await ip(pod.path, 'link', 'del', 'net1');
    await assert.rejects(check, /interface "net1" not found/);
  });
});
