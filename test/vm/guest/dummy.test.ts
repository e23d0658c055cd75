import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError } from '../../../src/cni/error.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from '../../plugins/support.ts';
import { connect, exchange } from '../../plugins/traffic.ts';
import { testNamespace } from '../../support/namespace.ts';
import { becomeNode } from '../../support/node.ts';

becomeNode();

const dualStack = {
  ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  routes: [{ dst: '10.9.0.0/16' }],
};

test('a dummy has its addresses, which the container itself reaches, and its DEL takes all back, twice', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using pod = await testNamespace();
  await ip(pod.path, 'link', 'set', 'lo', 'up');
  const before = await stateOf(pod.path);
  const network = config('dummy', { ipam: addresses.ipam, dns: { domain: 'example' } });
  const result = await runner.add(network, attachment(pod.path));
  const [link] = await ip(pod.path, 'link', 'show', 'net1');
  assert.deepEqual(link?.['linkinfo'], { info_kind: 'dummy' });
  assert.deepEqual(
    { ...result, routes: [] },
    {
      interfaces: [{ name: 'net1', mac: link?.['address'], sandbox: pod.path }],
      ips: [
        { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 },
        { address: 'fd00:1::2/64', gateway: 'fd00:1::1', interface: 0 },
      ],
      routes: [],
      dns: { domain: 'example' },
    },
  );
  assert.equal(await connect(pod.path, pod.path, '10.1.2.2'), '10.1.2.2');
  for (const packet of [100, 1500, 60_000]) {
    await exchange(pod.path, pod.path, '10.1.2.2', packet);
    await exchange(pod.path, pod.path, 'fd00:1::2', packet);
  }
  await runner.check(withResult(network, result), attachment(pod.path));
  for (const _ of [1, 2]) await runner.delete(withResult(network, result), attachment(pod.path));
  assert.deepEqual(await stateOf(pod.path), before);
  assert.deepEqual(await addresses.reserved(), []);
});

test("it may have the name of one of the node's interfaces", async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  await ip(undefined, 'link', 'add', 'ens5', 'type', 'dummy');
  const before = await stateOf(undefined);
  await runner.add(config('dummy', { ipam: addresses.ipam }), attachment(pod.path, { ifName: 'ens5' }));
  assert.deepEqual(
    (await ip(pod.path, 'link')).map((link) => link['ifname']),
    ['lo', 'ens5'],
  );
  assert.deepEqual(await stateOf(undefined), before);
});

test('what cannot be is refused, and leaves nothing', async () => {
  for (const { ipam, message, code } of [
    { ipam: { type: '' }, message: /ipam\.type: expected the name of an IPAM plugin/, code: 7 },
    {
      ipam: { subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] },
      message: /network is unreachable/,
      code: 999,
    },
  ]) {
    await using addresses = await hostLocalAddresses(ipam);
    await using pod = await testNamespace();
    const before = [await stateOf(undefined), await stateOf(pod.path)];
    await assert.rejects(
      runner.add(config('dummy', { ipam: addresses.ipam }), attachment(pod.path)),
      (error) => error instanceof CniError && message.test(error.message) && error.code === code,
    );
    assert.deepEqual([await stateOf(undefined), await stateOf(pod.path)], before);
    assert.deepEqual(await addresses.reserved(), []);
  }
});

test('a DEL releases the address when the namespace is gone, and when none is named', async () => {
  for (const netns of ['/run/netns/plx-none', '']) {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const network = config('dummy', { ipam: addresses.ipam });
    await runner.add(network, attachment(pod.path));
    for (const _ of [1, 2]) await runner.delete(network, attachment(netns));
    assert.deepEqual(await addresses.reserved(), []);
  }
});

test('a CHECK finds it down, another in its place, and a lost route', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using pod = await testNamespace();
  const network = config('dummy', { ipam: addresses.ipam });
  const checked = withResult(network, await runner.add(network, attachment(pod.path)));
  const check = () => runner.check(checked, attachment(pod.path));
  await ip(pod.path, 'route', 'del', '10.9.0.0/16');
  await assert.rejects(check, /Expected Route 10\.9\.0\.0\/16 not found/);
  const plain = { ...checked, prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'net1', sandbox: pod.path }] } };
  await ip(pod.path, 'link', 'set', 'net1', 'down');
  await assert.rejects(() => runner.check(plain, attachment(pod.path)), /Interface net1 is down/);
  await ip(pod.path, 'link', 'del', 'net1');
  await ip(pod.path, 'link', 'add', 'net1', 'type', 'ifb');
  await assert.rejects(() => runner.check(plain, attachment(pod.path)), /not of type dummy/);
});
