import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { Result } from '../../src/cni/result.ts';
import { supportedKinds } from '../../src/linux/link-kind-support.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';

/* What needs no ipvlan in the kernel. The rest is in test/vm/guest/ipvlan.test.ts. */

becomeNode();
before(() => addWire('ens5'));

const ips = [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 }];
const chained = (names: readonly string[]): Result => ({
  interfaces: names.map((name) => ({ name })),
  ips,
  routes: [],
  dns: {},
});

const single = /^chained master failure\. PrevResult lacks a single named interface$/;

const refused = [
  {
    what: 'a master that does not exist',
    keys: { master: 'ens9' },
    message: /^master "ens9" not found; this node has/,
  },
  { what: 'no master and no default route', keys: {}, message: /^no default route interface found/ },
  {
    what: 'an unknown mode',
    keys: { master: 'ens5', mode: 'bridge' },
    message: /^network "test-net": mode: expected l2, l3 or l3s, found "bridge"$/,
  },
  {
    what: 'an unknown flag',
    keys: { master: 'ens5', flag: 'l2' },
    message: /^network "test-net": flag: expected bridge, private or vepa, found "l2"$/,
  },
  { what: 'a negative MTU', keys: { master: 'ens5', mtu: -1 }, message: /mtu: expected at least 0, found -1$/ },
  {
    what: 'no IPAM',
    keys: { master: 'ens5', ipam: null },
    message: /^network "test-net": ipam\.type: expected the name of an IPAM plugin, found nothing$/,
  },
  {
    what: 'no IPAM behind a result without addresses',
    keys: { ipam: {} },
    prevResult: { ...chained(['ens5']), ips: [] },
    message: /ipam\.type: expected the name of an IPAM plugin/,
  },
  { what: 'a result with two interfaces and no master', keys: {}, prevResult: chained(['a', 'b']), message: single },
  { what: 'a result with no interface and no master', keys: {}, prevResult: chained([]), message: single },
  { what: 'a result with a nameless interface and no master', keys: {}, prevResult: chained(['']), message: single },
  {
    what: "a result whose interface is not the node's",
    keys: {},
    prevResult: chained(['ens9']),
    message: /^master "ens9" not found/,
  },
  {
    what: 'a master that should be in the container',
    keys: { master: 'ens5', linkInContainer: true },
    message: /^master "ens5" not found; the container \(.*\) has no interface that could be one$/,
  },
  {
    what: 'a namespace that is gone',
    keys: { master: 'ens5' },
    netns: '/run/netns/plx-none',
    message: /^failed to open netns/,
    code: 8,
  },
];
for (const { what, keys, prevResult, message, netns, code = 7 } of refused) {
  test(`${what} is refused, and leaves nothing`, async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const before = await Promise.all([stateOf(undefined), stateOf(pod.path)]);
    const network = config('ipvlan', { ipam: addresses.ipam, ...keys });
    const call = prevResult === undefined ? network : withResult(network, prevResult);
    await assert.rejects(
      runner.add(call, attachment(netns ?? pod.path)),
      (error) => error instanceof CniError && message.test(error.message) && error.code === code,
    );
    assert.deepEqual(await Promise.all([stateOf(undefined), stateOf(pod.path)]), before);
    assert.deepEqual(await addresses.reserved(), []);
  });
}

test('a kernel without ipvlan is told with the remedy, and nothing is left', async (t) => {
  await using pod = await testNamespace();
  if ((await supportedKinds(['ipvlan'])).has('ipvlan')) return t.skip('this kernel has ipvlan');
  await using addresses = await hostLocalAddresses();
  const network = config('ipvlan', { master: 'ens5', ipam: addresses.ipam });
  await assert.rejects(runner.add(network, attachment(pod.path)), {
    message: /^failed to create ipvlan "net1": /,
    details: "the node's kernel has no ipvlan: load its module, modprobe ipvlan",
    code: 999,
  });
  assert.equal((await ip(pod.path, 'link')).length, 1);
  assert.deepEqual(await addresses.reserved(), []);
});

test('a DEL needs neither a master nor a default route, and succeeds where there is nothing', async () => {
  await using pod = await testNamespace();
  for (const netns of [pod.path, '/run/netns/plx-none', '']) {
    await using addresses = await hostLocalAddresses();
    const place = attachment(netns);
    await runner.add(config('host-local', { ipam: addresses.ipam }), place);
    const network = config('ipvlan', { ipam: addresses.ipam });
    const withTwo = withResult(network, chained(['a', 'b']));
    for (const call of [network, withTwo, config('ipvlan', {})]) await runner.delete(call, place);
    assert.deepEqual(await addresses.reserved(), []);
  }
});

test('a CHECK finds an interface that is missing, or of another kind', async () => {
  await using pod = await testNamespace();
  const network = config('ipvlan', {});
  const result = { ...chained([]), interfaces: [{ name: 'net1', sandbox: pod.path }], ips: [] };
  const check = () => runner.check(withResult(network, result), attachment(pod.path));
  await assert.rejects(check, /interface "net1" not found/);
  await ip(pod.path, 'link', 'add', 'net1', 'type', 'bridge');
  await assert.rejects(check, /Container interface net1 not of type ipvlan/);
  await assert.rejects(runner.check(network, attachment(pod.path)), { message: 'Required prevResult missing' });
});
