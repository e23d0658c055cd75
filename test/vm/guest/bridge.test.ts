import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { JsonObject } from '../../../src/cni/json.ts';
import type { Attachment, PluginConfig } from '../../../src/cni/plugin.ts';
import { bridgeVlans } from '../../../src/linux/bridge-vlan.ts';
import { links } from '../../../src/linux/link.ts';
import { Rtnetlink } from '../../../src/linux/rtnetlink.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from '../../plugins/support.ts';
import { connect } from '../../plugins/traffic.ts';
import { testDirectory } from '../../support/directory.ts';
import { testNamespace } from '../../support/namespace.ts';
import { becomeNode } from '../../support/node.ts';

/* VLANs of bridges, which the kernels of build machines often cannot filter. */

const run = promisify(execFile);

becomeNode();
afterEach(async () => {
  const names = (await ip(undefined, 'link', 'show')).map(({ ifname }) => `${ifname}`);
  for (const name of names.filter((each) => /^br\d/.test(each))) await ip(undefined, 'link', 'del', name);
});

const network = (keys: JsonObject): PluginConfig => config('bridge', { bridge: 'br0', ...keys });

/** What bridge(8) says, a line for each VLAN: `1 PVID Egress Untagged`. */
async function vlansOf(port: string): Promise<string[]> {
  const { stdout } = await run('bridge', ['vlan', 'show', 'dev', port]);
  const [, ...lines] = stdout.trim().split('\n');
  return lines.map((line) => line.replace(port, '').trim().replaceAll(/\s+/g, ' '));
}

async function added(network: PluginConfig, place: Attachment) {
  const result = await runner.add(network, place);
  return { ...result, [Symbol.asyncDispose]: () => runner.delete(withResult(network, result), place) };
}

async function answers(from: string, address: string): Promise<boolean> {
  await ip(from, 'neigh', 'flush', 'all');
  const words: string[] = [`--net=${from}`, 'timeout', '10', 'bash', '-c', `: >/dev/tcp/${address}/9`];
  await run('nsenter', words).catch(() => undefined);
  const [neighbour] = await ip(from, 'neigh', 'show', address);
  return neighbour?.['lladdr'] !== undefined;
}

test('VLANs of a port are what bridge(8) sees, are read back, and go again', async () => {
  await ip(undefined, 'link', 'add', 'br0', 'type', 'bridge', 'vlan_filtering', '1', 'vlan_default_pvid', '5');
  await ip(undefined, 'link', 'add', 'port', 'master', 'br0', 'type', 'dummy');
  using netlink = Rtnetlink.open();
  const [bridge, { index }] = await netlink.run(links.get({ name: 'br0' }), links.get({ name: 'port' }));
  assert.deepEqual(bridge.data, { type: 'bridge', vlanFiltering: true, defaultVlan: 5 });
  const vlans = [
    { first: 7, last: 7, pvid: true, untagged: true },
    { first: 20, last: 29, pvid: false, untagged: false },
    { first: 4094, last: 4094, pvid: false, untagged: true },
  ];
  await netlink.run(bridgeVlans.add(index, vlans));
  const tagged = Array.from({ length: 10 }, (_, i) => `${20 + i}`);
  const all = ['5 Egress Untagged', '7 PVID Egress Untagged', ...tagged, '4094 Egress Untagged'];
  assert.deepEqual(await vlansOf('port'), all);
  const read = async () => (await netlink.run(bridgeVlans.list()))[0].find((each) => each.index === index)?.vlans;
  const fifth = { first: 5, last: 5, pvid: false, untagged: true };
  assert.deepEqual(await read(), [fifth, ...vlans]);
  await netlink.run(bridgeVlans.delete(index, [{ first: 5, last: 22 }]));
  assert.deepEqual(await read(), [{ first: 23, last: 29, pvid: false, untagged: false }, vlans[2]]);
  await ip(undefined, 'link', 'del', 'port');
});

describe('the port of a container is in the VLANs that its network names', () => {
  const cases: readonly { readonly keys: JsonObject; readonly expected: readonly string[] }[] = [
    { keys: {}, expected: ['1 PVID Egress Untagged'] },
    { keys: { vlan: 100 }, expected: ['100 PVID Egress Untagged'] },
    { keys: { vlan: 4094, preserveDefaultVlan: true }, expected: ['1 Egress Untagged', '4094 PVID Egress Untagged'] },
    {
      keys: { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 203 }] },
      expected: ['1 PVID Egress Untagged', '101', '200', '201', '202', '203'],
    },
    { keys: { vlan: 4, vlanTrunk: [{ id: 3 }, { id: 4 }] }, expected: ['3', '4 PVID Egress Untagged'] },
    {
      keys: { vlan: 4, vlanTrunk: [{ id: 3 }], preserveDefaultVlan: true },
      expected: ['1 Egress Untagged', '3', '4 PVID Egress Untagged'],
    },
  ];
  for (const { keys, expected } of cases) {
    test(JSON.stringify(keys), async () => {
      await using pod = await testNamespace();
      await ip(undefined, 'link', 'add', 'br0', 'up', 'type', 'bridge', 'vlan_filtering', '1');
      await using result = await added(network(keys), attachment(pod.path));
      const port = result.interfaces[1]?.name ?? '';
      assert.deepEqual(await vlansOf(port), expected);
      await runner.check(withResult(network(keys), result), attachment(pod.path));
      if (Object.keys(keys).length === 0) return;
      await run('bridge', ['vlan', 'del', 'dev', port, 'vid', '1-4094']);
      const check = runner.check(withResult(network(keys), result), attachment(pod.path));
      await assert.rejects(check, /port veth\w+ of bridge br0 is not in VLAN \d+/);
    });
  }

  test('a bridge that is made for VLANs tells them apart, one for none does not', async () => {
    for (const [bridge, keys, vlanFiltering] of [
      ['br1', { vlan: 7 }, true],
      ['br2', { vlanTrunk: [] }, true],
      ['br3', {}, false],
    ] as const) {
      await using pod = await testNamespace();
      await using _result = await added(network({ ...keys, bridge }), attachment(pod.path));
      using netlink = Rtnetlink.open();
      const [{ data }] = await netlink.run(links.get({ name: bridge }));
      assert.deepEqual(data, { type: 'bridge', vlanFiltering, defaultVlan: 1 });
    }
  });

  test('a VLAN of a bridge that does not tell them apart is refused, and leaves nothing', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await ip(undefined, 'link', 'add', 'br0', 'address', '02:00:00:00:0b:01', 'up', 'type', 'bridge');
    const before = [await stateOf(undefined), await stateOf(pod.path)];
    for (const keys of [{ vlan: 7 }, { vlanTrunk: [{ id: 7 }] }]) {
      await assert.rejects(runner.add(network({ ...keys, ipam: addresses.ipam }), attachment(pod.path)), {
        code: 7,
        message: 'bridge "br0" does not tell VLANs apart: it was made without a VLAN filter',
        details: 'ip link set br0 type bridge vlan_filtering 1',
      });
    }
    assert.deepEqual([await stateOf(undefined), await stateOf(pod.path)], before);
    assert.deepEqual(await addresses.reserved(), []);
  });
});

test('containers of one VLAN reach each other and the gateway there, and nobody in another', async () => {
  await using addresses = await hostLocalAddresses();
  await using pods = new AsyncDisposableStack();
  const [one, two, three] = [await testNamespace(), await testNamespace(), await testNamespace()];
  for (const pod of [one, two, three]) pods.use(pod);
  const inVlan = (vlan: number) => network({ vlan, isGateway: vlan === 100, ipam: addresses.ipam });
  await using first = await added(inVlan(100), attachment(one.path));
  await using _second = await added(inVlan(100), attachment(two.path, { containerId: 'c2' }));
  await using _third = await added(inVlan(200), attachment(three.path, { containerId: 'c3' }));

  const [gateway] = await ip(undefined, 'address', 'show', 'br0.100');
  assert.deepEqual(first.interfaces[3], { name: 'br0.100', mac: gateway?.['address'] });
  assert.deepEqual(await vlansOf(`${gateway?.['link']}`), ['100 PVID Egress Untagged']);
  assert.ok((await stateOf(undefined)).includes('address 10.1.2.1/24 on br0.100'));
  assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');
  assert.equal(await connect(one.path, undefined, '10.1.2.1'), '10.1.2.2');
  assert.equal(await connect(undefined, two.path, '10.1.2.3'), '10.1.2.1');
  assert.equal(await answers(one.path, '10.1.2.4'), false);
  assert.equal(await answers(three.path, '10.1.2.1'), false);
});

test('the gateway of a VLAN is one for all its containers, and outlives a DEL without their namespace', async () => {
  await using addresses = await hostLocalAddresses();
  await using pods = new AsyncDisposableStack();
  const all = [await testNamespace(), await testNamespace(), await testNamespace()];
  for (const pod of all) pods.use(pod);
  const inVlan = network({ vlan: 100, isGateway: true, ipam: addresses.ipam });
  const places = all.map(({ path }, i) => attachment(path, { containerId: `c${i}` }));
  const results = await Promise.all(places.map((place) => runner.add(inVlan, place)));
  const ports = await ip(undefined, 'link', 'show', 'master', 'br0');
  assert.equal(ports.length, 4);
  assert.equal(new Set(results.map(({ interfaces }) => interfaces[3]?.mac)).size, 1);
  await Promise.all(
    results.map((result, i) => runner.delete(withResult(inVlan, result), attachment('', { containerId: `c${i}` }))),
  );
  assert.equal((await ip(undefined, 'link', 'show', 'master', 'br0')).length, 1);
  assert.ok((await stateOf(undefined)).includes('address 10.1.2.1/24 on br0.100'));
  assert.deepEqual(await addresses.reserved(), []);
});

test('the gateway of a VLAN is connected again where its bridge was removed', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  const inVlan = network({ vlan: 100, isGateway: true, ipam: addresses.ipam });
  await runner.add(inVlan, attachment(pod.path));
  await runner.delete(inVlan, attachment(pod.path));
  await ip(undefined, 'link', 'del', 'br0');
  await using _result = await added(inVlan, attachment(pod.path));
  const [gateway] = await ip(undefined, 'link', 'show', 'br0.100');
  assert.deepEqual(await vlansOf(`${gateway?.['link']}`), ['100 PVID Egress Untagged']);
  assert.equal(await connect(pod.path, undefined, '10.1.2.1'), '10.1.2.3');
});

test('an ADD that fails leaves neither bridge nor gateway', async () => {
  await using directory = await testDirectory();
  await writeFile(join(directory.path, 'nft'), '#!/bin/sh\necho not supported >&2\nexit 1\n', { mode: 0o755 });
  await using pod = await testNamespace();
  const before = [await stateOf(undefined), await stateOf(pod.path)];
  const path = process.env['PATH'];
  process.env['PATH'] = `${directory.path}:${path}`;
  try {
    const ipam = { type: 'static', addresses: [{ address: '10.1.2.5/24' }] };
    const failing = network({ vlan: 100, isGateway: true, ipMasq: true, ipMasqBackend: 'nftables', ipam });
    await assert.rejects(runner.add(failing, attachment(pod.path)), /^CniError: network "test-net": ipMasq: nft: /);
  } finally {
    process.env['PATH'] = path;
  }
  assert.deepEqual([await stateOf(undefined), await stateOf(pod.path)], before);
});
