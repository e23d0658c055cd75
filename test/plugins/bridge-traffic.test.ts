import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { JsonObject } from '../../src/cni/json.ts';
import type { Attachment, PluginConfig } from '../../src/cni/plugin.ts';
import { runCommand } from '../../src/linux/command.ts';
import { ensureCommands } from '../../tools/debian.ts';
import { testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, withResult } from './support.ts';
import { connect } from './traffic.ts';

const run = promisify(execFile);

becomeNode();
before(() => ensureCommands(['iptables', 'nft']));

const dualStack = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

const network = (keys: JsonObject): PluginConfig => config('bridge', { bridge: 'br0', ...keys });

/** An attachment that goes before its namespace does: the kernel takes its time with what is left in one. */
async function added(network: PluginConfig, place: Attachment) {
  const result = await runner.add(network, place);
  return { ...result, [Symbol.asyncDispose]: () => runner.delete(withResult(network, result), place) };
}

/** Whether an address answers an ARP request from an interface of a pod: the kernel gives up after three seconds. */
async function answers(from: string, address: string): Promise<boolean> {
  await ip(from, 'neigh', 'flush', 'all');
  const words: string[] = [`--net=${from}`, 'timeout', '10', 'bash', '-c', `: >/dev/tcp/${address}/9`];
  await run('nsenter', words).catch(() => undefined);
  const [neighbour] = await ip(from, 'neigh', 'show', address);
  return neighbour?.['lladdr'] !== undefined;
}

test('traffic flows between containers, and between container and node, for both families', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using one = await testNamespace();
  await using two = await testNamespace();
  const isGateway = network({ isGateway: true, ipam: addresses.ipam });
  await using _first = await added(isGateway, attachment(one.path));
  await using _second = await added(isGateway, attachment(two.path, { containerId: 'c2' }));
  assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');
  assert.equal(await connect(one.path, two.path, 'fd00:1::3'), 'fd00:1::2');
  assert.equal(await connect(one.path, undefined, '10.1.2.1'), '10.1.2.2');
  assert.equal(await connect(undefined, two.path, 'fd00:1::3'), 'fd00:1::1');
});

test('isolated containers reach the node, and not each other', async () => {
  await using addresses = await hostLocalAddresses();
  await using pods = new AsyncDisposableStack();
  const [one, two, three] = [await testNamespace(), await testNamespace(), await testNamespace()];
  for (const pod of [one, two, three]) pods.use(pod);
  const isGateway = network({ isGateway: true, ipam: addresses.ipam });
  const isolated = { ...isGateway, portIsolation: true };
  await using _first = await added(isolated, attachment(one.path));
  await using _second = await added(isolated, attachment(two.path, { containerId: 'c2' }));
  await using _third = await added(isGateway, attachment(three.path, { containerId: 'c3' }));
  assert.equal(await answers(one.path, '10.1.2.3'), false);
  assert.equal(await answers(one.path, '10.1.2.4'), true);
  assert.equal(await connect(one.path, undefined, '10.1.2.1'), '10.1.2.2');
  assert.equal(await connect(undefined, two.path, '10.1.2.3'), '10.1.2.1');
});

test('in hairpin mode, what came in at a port goes out there again', async () => {
  for (const hairpinMode of [true, false]) {
    await using pod = await testNamespace();
    await using inner = await testNamespace();
    await using other = await testNamespace();
    await using _result = await added(network({ hairpinMode }), attachment(pod.path));
    // Two hosts behind one port, which count on what is beyond it to bring them together.
    for (const [{ path }, address] of [
      [inner, '10.7.0.1/24'],
      [other, '10.7.0.2/24'],
    ] as const) {
      await ip(pod.path, 'link', 'add', 'mv0', 'link', 'net1', 'netns', path, 'type', 'macvlan', 'mode', 'vepa');
      await ip(path, 'address', 'add', address, 'dev', 'mv0');
      await ip(path, 'link', 'set', 'mv0', 'up');
    }
    assert.equal(await answers(inner.path, '10.7.0.2'), hairpinMode);
  }
});

test("what a container sends under another's MAC address is dropped where that is checked", async () => {
  for (const macspoofchk of [true, false]) {
    await using addresses = await hostLocalAddresses();
    await using one = await testNamespace();
    await using two = await testNamespace();
    const checked = network({ isGateway: true, macspoofchk, ipam: addresses.ipam });
    await using _first = await added(checked, attachment(one.path));
    await using _second = await added(checked, attachment(two.path, { containerId: 'c2' }));
    assert.equal(await answers(one.path, '10.1.2.3'), true);
    await ip(one.path, 'link', 'set', 'net1', 'address', '02:00:00:00:00:0a');
    assert.equal(await answers(one.path, '10.1.2.3'), !macspoofchk);
    assert.equal(await answers(one.path, '10.1.2.1'), !macspoofchk);
    assert.equal(await answers(two.path, '10.1.2.1'), true);
  }
});

describe('rules of the spoof check', () => {
  const ruleset = async (): Promise<string[]> =>
    (await runCommand('nft', ['list', 'ruleset']))
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && line !== '}');
  const empty = [
    'table bridge nat {',
    'chain PREROUTING {',
    'type filter hook prerouting priority dstnat; policy accept;',
  ];
  before(async () => {
    await using pod = await testNamespace();
    await using _result = await added(network({ macspoofchk: true }), attachment(pod.path));
  });

  test('are those of the containernetworking plugins', async () => {
    await using pod = await testNamespace();
    const mac = '02:00:00:00:00:0a';
    await using result = await added(network({ macspoofchk: true, runtimeConfig: { mac } }), attachment(pod.path));
    const comment = 'comment "macspoofchk-c1-net1"';
    assert.deepEqual(await ruleset(), [
      ...empty,
      `iifname "${result.interfaces[1]?.name}" jump cni-br-iface-c1-net1 ${comment}`,
      'chain cni-br-iface-c1-net1 {',
      `jump cni-br-iface-c1-net1-mac ${comment}`,
      'chain cni-br-iface-c1-net1-mac {',
      `ether saddr ${mac} return ${comment}`,
      `drop ${comment}`,
    ]);
  });

  test('are gone after a DEL, twice, also when the namespace is gone, and after an ADD that fails', async () => {
    assert.deepEqual(await ruleset(), empty);
    const checked = network({ macspoofchk: true });
    for (const netns of [undefined, '/run/netns/plx-none', '']) {
      await using pod = await testNamespace();
      const result = await runner.add(checked, attachment(pod.path));
      assert.notDeepEqual(await ruleset(), empty);
      for (const _ of [1, 2]) await runner.delete(withResult(checked, result), attachment(netns ?? pod.path));
      assert.deepEqual(await ruleset(), empty);
    }
    await using pod = await testNamespace();
    const ipam = {
      type: 'static',
      addresses: [{ address: '10.1.2.5/24' }],
      routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }],
    };
    await assert.rejects(runner.add({ ...checked, ipam }, attachment(pod.path)), /network is unreachable/i);
    assert.deepEqual(await ruleset(), empty);
  });

  test("leave another interface's alone, and are there once after an ADD whose DEL was lost", async () => {
    await using pod = await testNamespace();
    const checked = network({ macspoofchk: true });
    await using _other = await added(checked, attachment(pod.path, { ifName: 'net2' }));
    const others = (await ruleset()).length;
    await runner.add(checked, attachment(pod.path));
    const both = (await ruleset()).length;
    await ip(pod.path, 'link', 'del', 'net1');
    await runner.add(checked, attachment(pod.path));
    assert.equal((await ruleset()).length, both);
    await runner.delete(checked, attachment(pod.path));
    assert.equal((await ruleset()).length, others);
  });

  test('are gone after a GC where their port is, and others stay', async () => {
    await using one = await testNamespace();
    await using two = await testNamespace();
    const checked = network({ macspoofchk: true });
    await using _kept = await added(checked, attachment(one.path));
    const before = await ruleset();
    const lost = attachment(two.path, { containerId: 'c'.repeat(200) });
    await runner.add(checked, lost);
    await ip(two.path, 'link', 'del', 'net1');
    assert.notDeepEqual(await ruleset(), before);
    await runner.gc({ ...checked, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'net1' }] }, []);
    assert.deepEqual(await ruleset(), before);
  });

  test('take any name of an interface and the longest of containers', async () => {
    await using pod = await testNamespace();
    const checked = network({ macspoofchk: true });
    for (const place of [
      attachment(pod.path, { ifName: String.raw`a";}\#ü` }),
      attachment(pod.path, { containerId: 'c'.repeat(200) }),
    ]) {
      await runner.add(checked, place);
      assert.match((await ruleset()).join('\n'), /macspoofchk-/);
      await runner.delete(checked, place);
      assert.deepEqual(await ruleset(), empty);
    }
  });

  test('cannot be made where the node has no nftables: the ADD says so and leaves nothing', async () => {
    await using pod = await testNamespace();
    await using directory = await testDirectory();
    await writeFile(join(directory.path, 'nft'), '#!/bin/sh\necho not supported >&2\nexit 1\n', { mode: 0o755 });
    const path = process.env['PATH'];
    const before = await ip(undefined, 'link', 'show', 'master', 'br0');
    process.env['PATH'] = `${directory.path}:${path}`;
    try {
      await assert.rejects(runner.add(network({ macspoofchk: true }), attachment(pod.path)), {
        message: /^network "test-net": macspoofchk: nft: .*not supported/,
        details: 'the check needs nftables on the node, package nftables',
      });
    } finally {
      process.env['PATH'] = path;
    }
    assert.deepEqual(await ip(undefined, 'link', 'show', 'master', 'br0'), before);
    assert.equal((await ip(pod.path, 'link')).length, 1);
  });
});

describe('masquerading', () => {
  /** A host beyond the node that knows no way back to containers. */
  let outside: TestNamespace;
  before(async () => {
    outside = await testNamespace();
    await addWire('ens5');
    await ip(undefined, 'link', 'set', 'ens5p', 'netns', outside.path);
    await ip(outside.path, 'link', 'set', 'ens5p', 'up');
    await ip(undefined, 'address', 'add', '192.0.2.1/24', 'dev', 'ens5');
    await ip(outside.path, 'address', 'add', '192.0.2.2/24', 'dev', 'ens5p');
  });
  after(() => outside[Symbol.asyncDispose]());

  for (const ipMasqBackend of ['iptables', 'nftables']) {
    test(`by ${ipMasqBackend}: what leaves the subnet has the node's address, and all is gone after a DEL`, async () => {
      await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24' });
      await using one = await testNamespace();
      await using two = await testNamespace();
      const masqueraded = network({ isDefaultGateway: true, ipMasq: true, ipMasqBackend, ipam: addresses.ipam });
      const rules = async () => (await runCommand('nft', ['list', 'ruleset'])).match(/masquerade comment|CNI-/g) ?? [];
      const before = await rules();
      const result = await runner.add(masqueraded, attachment(one.path));
      await using _second = await added(masqueraded, attachment(two.path, { containerId: 'c2' }));
      assert.equal(await connect(one.path, outside.path, '192.0.2.2'), '192.0.2.1');
      assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');
      await runner.delete(withResult(masqueraded, result), attachment('/run/netns/plx-none'));
      await runner.delete(masqueraded, attachment(two.path, { containerId: 'c2' }));
      assert.deepEqual(await rules(), before);
    });
  }
});
