import assert from 'node:assert/strict';
import { chmod, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import type { Attachment, PluginConfig } from '../../src/cni/plugin.ts';
import type { Result } from '../../src/cni/result.ts';
import { runCommand } from '../../src/linux/command.ts';
import { changeTable, listTable } from '../../src/linux/iptables.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { writeSysctlIfAny } from '../../src/linux/sysctl.ts';
import { ensureCommands } from '../../tools/debian.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, ip, runner, withResult } from './support.ts';
import { connect, exchange } from './traffic.ts';

becomeNode();

/** A host beyond the node, which leads there to pods. */
let outside: TestNamespace;
let claims: TestDirectory;
before(async () => {
  await ensureCommands(['iptables', 'nft']);
  claims = await testDirectory();
  outside = await testNamespace();
  await addWire('ens5');
  await ip(undefined, 'link', 'set', 'ens5p', 'netns', outside.path);
  await ip(outside.path, 'link', 'set', 'ens5p', 'up');
  await ip(undefined, 'address', 'add', '192.0.2.1/24', 'dev', 'ens5');
  await ip(undefined, 'address', 'add', '2001:db8::1/64', 'dev', 'ens5', 'nodad');
  await ip(outside.path, 'address', 'add', '192.0.2.2/24', 'dev', 'ens5p');
  await ip(outside.path, 'address', 'add', '2001:db8::2/64', 'dev', 'ens5p', 'nodad');
  await ip(outside.path, 'route', 'add', 'default', 'via', '192.0.2.1');
  await ip(outside.path, 'route', 'add', 'default', 'via', '2001:db8::1');
});

after(async () => {
  await outside[Symbol.asyncDispose]();
  await claims[Symbol.asyncDispose]();
});

const backends = ['iptables', 'nftables'] as const;

const network = (keys: JsonObject = {}): PluginConfig => config('firewall', { dataDir: claims.path, ...keys });

/** A result without interfaces that are there: rules need none. */
const resultOf = (...addresses: readonly string[]): Result => ({
  interfaces: [{ name: 'br9' }, { name: 'net1', sandbox: '/run/netns/plx-none' }],
  ips: addresses.map((address) => ({ address, interface: 1 })),
  routes: [],
  dns: {},
});

const dual = resultOf('10.9.0.9/24', 'fd00:9::9/64');

const add = (keys: PluginConfig, place: Attachment, result = dual) => runner.add(withResult(keys, result), place);

/** All that a firewall plugin may have left: rules, and claims. */
async function state(): Promise<string[]> {
  const tables = await Promise.all([listTable(4, 'filter'), listTable(6, 'filter')]);
  const ruleset = await runCommand('nft', ['list', 'ruleset']);
  const own = ruleset.split(/^(?=table )/m).filter((table) => /^table inet/.test(table));
  return [...tables.flat(), ...own, ...(await readdir(claims.path))];
}

/** Takes all rules away. */
const flush = (): Promise<string> => runCommand('nft', ['flush', 'ruleset']);

interface Pod extends AsyncDisposable {
  readonly path: string;
  readonly place: Attachment;
  readonly result: Result;
}

/** A pod on a bridge: number 3 of bridge 1 has 10.1.0.3 and fd00:1::3. */
async function podOn(bridge: number, number: number): Promise<Pod> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await testNamespace());
  const place = attachment(path, { containerId: `b${bridge}p${number}` });
  const addresses = [
    { address: `10.${bridge}.0.${number}/24`, gateway: `10.${bridge}.0.1` },
    { address: `fd00:${bridge}::${number}/64`, gateway: `fd00:${bridge}::1` },
  ];
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
  const bridged = config('bridge', {
    bridge: `br${bridge}`,
    isGateway: true,
    ipam: { type: 'static', addresses, routes },
  });
  const result = await runner.add(bridged, place);
  stack.defer(() => runner.delete(withResult(bridged, result), place));
  const kept = stack.move();
  return { path, place, result, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** How often a packet is sent that is not to arrive. Those that are, are sent until they do. */
const lostTries = 2;

async function assertLost(from: string, to: string, address: string): Promise<void> {
  await assert.rejects(exchange(from, to, address, 100, lostTries), /does not come back/);
}

/** What makes a node drop whatever is forwarded. */
const dropAll = {
  iptables: async () => {
    for (const family of [4, 6] as const) await changeTable(family, 'filter', ['-P FORWARD DROP']);
  },
  nftables: async () => {
    await runCommand('nft', [
      'add table inet filter ; add chain inet filter forward { type filter hook forward priority filter ; policy drop ; }',
    ]);
  },
} as const;

for (const backend of backends) {
  describe(`by ${backend}`, () => {
    after(flush);

    test('a node that drops what is forwarded lets through what a pod begins, and nothing else', async () => {
      await using pod = await podOn(1, 2);
      await dropAll[backend]();
      await assertLost(pod.path, outside.path, '192.0.2.2');
      await add(network({ backend }), pod.place, pod.result);
      assert.equal(await connect(pod.path, outside.path, '192.0.2.2'), '10.1.0.2');
      assert.equal(await connect(pod.path, outside.path, '2001:db8::2'), 'fd00:1::2');
      for (const packet of [100, 1500, 4000]) await exchange(pod.path, outside.path, '192.0.2.2', packet);
      for (const address of ['10.1.0.2', 'fd00:1::2']) await assertLost(outside.path, pod.path, address);
      await runner.delete(withResult(network({ backend }), pod.result), pod.place);
      for (const address of ['192.0.2.2', '2001:db8::2']) await assertLost(pod.path, outside.path, address);
      await flush();
    });

    test('same-bridge: pods of one bridge reach each other and the world, not those of another bridge', async () => {
      await using one = await podOn(1, 2);
      await using two = await podOn(1, 3);
      await using other = await podOn(2, 2);
      const keys = network({ backend, ingressPolicy: 'same-bridge' });
      for (const pod of [one, two, other]) await add(network({ backend }), pod.place, pod.result);
      assert.equal(await connect(one.path, other.path, '10.2.0.2'), '10.1.0.2');
      assert.equal(await connect(other.path, one.path, 'fd00:1::2'), 'fd00:2::2');
      for (const pod of [one, two, other]) await add(keys, pod.place, pod.result);
      assert.equal(await connect(one.path, two.path, '10.1.0.3'), '10.1.0.2');
      assert.equal(await connect(two.path, one.path, 'fd00:1::2'), 'fd00:1::3');
      for (const [from, to, address] of [
        [one, other, '10.2.0.2'],
        [one, other, 'fd00:2::2'],
        [other, one, '10.1.0.2'],
        [other, two, 'fd00:1::3'],
      ] as const) {
        await assertLost(from.path, to.path, address);
      }
      assert.equal(await connect(other.path, outside.path, '192.0.2.2'), '10.2.0.2');
      assert.equal(await connect(outside.path, one.path, '10.1.0.2'), '192.0.2.2');
      for (const pod of [one, two, other]) {
        await runner.check(withResult(keys, pod.result), pod.place);
        await runner.delete(withResult(keys, pod.result), pod.place);
      }
      await flush();
    });

    for (const [filter, value] of [
      ['with br_netfilter', 1],
      ['without br_netfilter', 0],
    ] as const) {
      test(`isolated, ${filter}: a pod reaches the world and its gateway, and no other pod`, async () => {
        for (const name of ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables']) {
          await writeSysctlIfAny(NetworkNamespace.host(), value, 'bridge', name);
        }
        await using one = await podOn(1, 2);
        await using two = await podOn(1, 3);
        await using other = await podOn(2, 2);
        const keys = network({ backend, ingressPolicy: 'isolated' });
        assert.equal(await connect(one.path, two.path, '10.1.0.3'), '10.1.0.2');
        for (const pod of [one, two, other]) await add(keys, pod.place, pod.result);
        for (const [from, to, address] of [
          [one, two, '10.1.0.3'],
          [two, one, 'fd00:1::2'],
          [one, other, '10.2.0.2'],
          [other, one, 'fd00:1::2'],
        ] as const) {
          await assertLost(from.path, to.path, address);
        }
        assert.equal(await connect(one.path, outside.path, '192.0.2.2'), '10.1.0.2');
        assert.equal(await connect(two.path, outside.path, '2001:db8::2'), 'fd00:1::3');
        assert.equal(await connect(one.path, undefined, '10.1.0.1'), '10.1.0.2');
        for (const pod of [one, two, other]) await runner.delete(withResult(keys, pod.result), pod.place);
        await flush();
      });
    }

    test('nothing but what is a bridge stays after a DEL, twice, with and without namespace and result', async () => {
      await using pod = await testNamespace();
      if (backend === 'nftables') await dropAll.nftables();
      const keys = network({ backend, ingressPolicy: 'isolated' });
      const place = attachment(pod.path, { containerId: 'c0' });
      await add(keys, place);
      await runner.delete(withResult(keys, dual), place);
      const before = await state();
      for (const [netns, given] of [
        [pod.path, withResult(keys, dual)],
        [pod.path, keys],
        ['/run/netns/plx-none', keys],
        ['', network({ backend: backend === 'iptables' ? 'nftables' : 'iptables' })],
        ['', network({ backend: 5, ingressPolicy: 'x', nftablesChain: 'y' })],
      ] as const) {
        await add(keys, attachment(pod.path));
        assert.notDeepEqual(await state(), before);
        for (const _ of [1, 2]) await runner.delete(given, attachment(netns));
        assert.deepEqual(await state(), before);
      }
      await flush();
    });

    test('a GC removes what belongs to no valid attachment and the policies of bridges that are gone', async () => {
      if (backend === 'nftables') await dropAll.nftables();
      await using pod = await podOn(1, 2);
      const keys = network({ backend, ingressPolicy: 'same-bridge' });
      const others = { ...network({ backend }), name: 'test-net2' };
      await add(keys, pod.place, pod.result);
      await add(others, attachment('', { containerId: 'c3' }), resultOf('10.9.0.3/24'));
      const before = await state();
      await add(keys, attachment('', { containerId: 'c2' }));
      assert.match((await state()).join(), /br9/);
      const valid = { 'cni.dev/valid-attachments': [{ containerID: pod.place.containerId, ifname: 'net1' }] };
      await runner.gc({ ...keys, ...valid }, []);
      assert.deepEqual(await state(), before);
      await runner.delete(withResult(keys, pod.result), pod.place);
      await runner.delete(others, attachment('', { containerId: 'c3' }));
      assert.deepEqual(await readdir(claims.path), []);
      await flush();
    });

    test('twelve pods at once have their rules, each of them once', async () => {
      if (backend === 'nftables') await dropAll.nftables();
      const keys = network({ backend, ingressPolicy: 'same-bridge' });
      const pods = Array.from({ length: 12 }, (_, index) => ({
        place: attachment('', { containerId: `c${index}` }),
        result: resultOf(`10.9.0.${index + 2}/24`, `fd00:9::${index + 2}/64`),
      }));
      await Promise.all(pods.map(({ place, result }) => add(keys, place, result)));
      const rules = (await listTable(4, 'filter')).filter((line) => line.startsWith('-A'));
      assert.equal(new Set(rules).size, rules.length);
      await Promise.all(pods.map(({ place, result }) => runner.check(withResult(keys, result), place)));
      await Promise.all(pods.map(({ place, result }) => runner.delete(withResult(keys, result), place)));
      const left = await state();
      assert.ok(!left.join().includes('10.9.0.') && !left.join().includes('fd00:9::'), left.join('\n'));
      await flush();
    });
  });
}

describe('an ADD that fails', () => {
  after(flush);

  /** Has programs fail that a node need not have, or whose kernel does not do all that they know. */
  async function whereFail(names: readonly string[], stderr: string, work: () => Promise<void>): Promise<void> {
    await using directory = await testDirectory();
    const path = process.env['PATH'];
    for (const name of names) {
      await writeFile(join(directory.path, name), `#!/bin/sh\necho "${stderr}" >&2\nexit 3\n`);
      await chmod(join(directory.path, name), 0o755);
    }
    process.env['PATH'] = `${directory.path}:${path}`;
    try {
      await work();
    } finally {
      process.env['PATH'] = path;
    }
  }

  const place = attachment('');
  const iptables = ['iptables', 'ip6tables', 'iptables-restore', 'ip6tables-restore'];
  const lack = 'Protocol not supported';

  test('leaves no rule of the other family, and no chain', async () => {
    const before = await state();
    await whereFail(['ip6tables-restore'], 'no such match', async () => {
      await assert.rejects(add(network({ backend: 'iptables', ingressPolicy: 'isolated' }), place), {
        message: 'network "test-net": firewall: ip6tables-restore: no such match',
      });
    });
    assert.deepEqual(await state(), before);
  });

  for (const [backend, names, message] of [
    ['iptables', iptables, /firewall: iptables: Protocol not supported$/],
    ['nftables', ['nft'], /firewall: nft: Protocol not supported$/],
    ['', [...iptables, 'nft'], /firewall: nft: Protocol not supported$/],
  ] as const) {
    test(`for want of ${names.join(', ')} leaves nothing, by backend "${backend}"`, async () => {
      const before = await state();
      await whereFail(names, lack, () => assert.rejects(add(network({ backend }), place), { message }));
      assert.deepEqual(await state(), before);
    });
  }

  test('does not fail where the backend may be another one', async () => {
    await whereFail(iptables, lack, () => add(network({ ingressPolicy: 'same-bridge' }), place).then(() => undefined));
    assert.match((await state()).join(), /table inet plexus_firewall/);
    await runner.delete(network(), place);
    assert.deepEqual(await readdir(claims.path), []);
    await flush();
  });

  for (const [keys, message] of [
    [{ nftablesChain: 'inet filter' }, /^network "test-net": nftablesChain: expected family, table and name/],
    [{ nftablesChain: 'ip filter FORWARD' }, /nftablesChain: expected a chain that is not one of iptables/],
    [{ backend: 'nftables', nftablesChain: 'inet none forward' }, /the node has no chain "inet none forward"/],
    [{ iptablesAdminChainName: '-j ACCEPT' }, /iptablesAdminChainName: expected the name of a chain/],
    [{ iptablesAdminChainName: 'CNI-FORWARD' }, /iptablesAdminChainName: expected a chain of its own/],
    [{ dataDir: 'claims' }, /dataDir: expected an absolute path/],
  ] as const) {
    test(`for ${JSON.stringify(keys)} leaves nothing`, async () => {
      const before = await state();
      await assert.rejects(add(network(keys), place), { message });
      assert.deepEqual(await state(), before);
    });
  }

  test("for a bridge's name that a rule cannot have leaves nothing", async () => {
    const before = await state();
    for (const name of ['br+', 'a" drop', 'x'.repeat(16)]) {
      const result = { ...dual, interfaces: [{ name }] };
      await assert.rejects(add(network({ ingressPolicy: 'isolated' }), place, { ...result, ips: [] }), {
        message: /is no interface name that a rule can have/,
      });
    }
    assert.deepEqual(await state(), before);
  });
});

describe('who has an address', () => {
  after(flush);
  const keys = () => network({ backend: 'iptables' });

  test('a pod whose rules were made in part, when the daemon was killed, is released', async () => {
    const before = (await state()).filter((line) => !line.startsWith('-N'));
    await add(keys(), attachment(''));
    await changeTable(6, 'filter', ['-F CNI-FORWARD']);
    await runner.delete(keys(), attachment(''));
    const left = (await state()).filter((line) => !line.startsWith('-N') && !line.includes('CNI firewall plugin'));
    assert.deepEqual(left, before);
  });

  test('two networks may have one address: it is let through until neither has it', async () => {
    const other = { ...keys(), name: 'test-net2' };
    await add(keys(), attachment(''));
    await add(other, attachment(''));
    await runner.delete(keys(), attachment(''));
    await runner.check(withResult(other, dual), attachment(''));
    await runner.delete(other, attachment(''));
    assert.doesNotMatch((await state()).join(), /10\.9\.0\.9/);
  });

  test('a claim that a lost DEL left does not keep the address of the next pod', async () => {
    await add(keys(), attachment('', { containerId: 'lost' }));
    await add(keys(), attachment(''));
    await runner.delete(withResult(keys(), dual), attachment('', { containerId: 'lost' }));
    await runner.check(withResult(keys(), dual), attachment(''));
    await runner.delete(keys(), attachment(''));
    assert.doesNotMatch((await state()).join(), /10\.9\.0\.9|10\.9\.0\.9,/);
  });
});
