import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { PluginConfig } from '../../src/cni/plugin.ts';
import { runCommand } from '../../src/linux/command.ts';
import { listTable } from '../../src/linux/iptables.ts';
import { listChain } from '../../src/linux/nftables.ts';
import { ensureCommands } from '../../tools/debian.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type Addresses, attachment, config, hostLocalAddresses, ip, runner, withResult } from './support.ts';
import { connect } from './traffic.ts';

becomeNode();

const dualStack = {
  ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
};

/** A host beyond the node that knows no way back to containers. */
let outside: TestNamespace;
before(async () => {
  await ensureCommands(['iptables', 'nft']);
  outside = await testNamespace();
  await addWire('ens5');
  await ip(undefined, 'link', 'set', 'ens5p', 'netns', outside.path);
  await ip(outside.path, 'link', 'set', 'ens5p', 'up');
  for (const [netns, name, host] of [
    [undefined, 'ens5', 1],
    [outside.path, 'ens5p', 2],
  ] as const) {
    await ip(netns, 'address', 'add', `192.0.2.${host}/24`, 'dev', name);
    await ip(netns, 'address', 'add', `2001:db8::${host}/64`, 'dev', name, 'nodad');
  }
});

after(() => outside[Symbol.asyncDispose]());

const backends = ['iptables', 'nftables'] as const;

const network = (ipMasqBackend: string, { ipam }: Addresses): PluginConfig =>
  config('ptp', { ipMasq: true, ipMasqBackend, ipam });

/** What masquerades on the node, by whichever backend. */
async function rules(): Promise<string[]> {
  const tables = await Promise.all([listTable(4, 'nat'), listTable(6, 'nat')]);
  const chain = await listChain({ family: 'inet', table: 'cni_plugins_masquerade', name: 'masq_checks' });
  return [...tables.flat().filter((line) => !line.startsWith('-P ')), ...chain.map(({ comment }) => `${comment}`)];
}

for (const backend of backends) {
  describe(`by ${backend}`, () => {
    test("what leaves a container's subnet has the node's address, what stays in it the container's", async () => {
      await using addresses = await hostLocalAddresses(dualStack);
      await using one = await testNamespace();
      await using two = await testNamespace();
      const masqueraded = network(backend, addresses);
      const second = attachment(two.path, { containerId: 'c2' });
      await runner.add(masqueraded, attachment(one.path));
      await runner.add(masqueraded, second);
      assert.equal(await connect(one.path, outside.path, '192.0.2.2'), '192.0.2.1');
      assert.equal(await connect(one.path, outside.path, '2001:db8::2'), '2001:db8::1');
      assert.equal(await connect(one.path, two.path, '10.1.2.3'), '10.1.2.2');
      assert.equal(await connect(one.path, two.path, 'fd00:1::3'), 'fd00:1::2');
      await runner.delete(masqueraded, attachment(one.path));
      assert.equal(await connect(two.path, outside.path, '192.0.2.2'), '192.0.2.1');
      await runner.delete(masqueraded, second);
      assert.deepEqual(await rules(), []);
    });

    test('every rule is gone after a DEL, twice, also when the namespace is gone, with and without the result', async () => {
      for (const [place, keepsResult] of [
        ['there', true],
        ['there', false],
        ['/run/netns/plx-none', true],
        ['', false],
      ] as const) {
        await using addresses = await hostLocalAddresses(dualStack);
        await using pod = await testNamespace();
        const masqueraded = network(backend, addresses);
        const result = await runner.add(masqueraded, attachment(pod.path));
        assert.notDeepEqual(await rules(), []);
        const given = keepsResult ? withResult(masqueraded, result) : masqueraded;
        for (const _ of [1, 2]) await runner.delete(given, attachment(place === 'there' ? pod.path : place));
        assert.deepEqual(await rules(), []);
        await runner.delete(masqueraded, attachment(pod.path));
      }
    });

    test('an ADD that fails leaves no rule', async () => {
      await using addresses = await hostLocalAddresses();
      await using others = await hostLocalAddresses();
      await using one = await testNamespace();
      await using two = await testNamespace();
      await runner.add(network(backend, addresses), attachment(one.path));
      const before = await rules();
      const second = attachment(two.path, { containerId: 'c2' });
      await assert.rejects(runner.add(network(backend, others), second), /failed to add route on host/);
      assert.deepEqual(await rules(), before);
      await runner.delete(network(backend, addresses), attachment(one.path));
    });

    test("a DEL leaves the rules of the container's other interface in the network", async () => {
      await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24', routes: [{ dst: '192.0.2.0/24' }] });
      await using others = await hostLocalAddresses({ subnet: '10.3.0.0/24' });
      await using pod = await testNamespace();
      const net1 = attachment(pod.path);
      const net2 = attachment(pod.path, { ifName: 'net2' });
      await runner.add(network(backend, addresses), net1);
      const before = await rules();
      await runner.add(network(backend, others), net2);
      assert.notDeepEqual(await rules(), before);
      await runner.delete(network(backend, others), net2);
      assert.equal(await connect(pod.path, outside.path, '192.0.2.2'), '192.0.2.1');
      await runner.delete(network(backend, addresses), net1);
      assert.deepEqual(await rules(), []);
    });

    test('a GC removes what belongs to no valid attachment, and leaves other networks alone', async () => {
      await using addresses = await hostLocalAddresses();
      await using one = await testNamespace();
      await using two = await testNamespace();
      await using three = await testNamespace();
      const kept = attachment(one.path);
      const lost = attachment(two.path, { containerId: 'c2' });
      const other = attachment(three.path, { containerId: 'c3' });
      await using others = await hostLocalAddresses({ subnet: '10.3.0.0/24' });
      const ofOthers = { ...network(backend, others), name: 'test-net2' };
      await runner.add(network(backend, addresses), kept);
      await runner.add(ofOthers, other);
      const before = await rules();
      await runner.add(network(backend, addresses), lost);
      const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'net1' }] };
      await runner.gc({ ...network(backend, addresses), ...valid }, []);
      assert.deepEqual(await rules(), before);
      assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
      for (const place of [kept, lost]) await runner.delete(network(backend, addresses), place);
      await runner.delete(ofOthers, other);
      assert.deepEqual(await rules(), []);
    });
  });
}

test('the rules of iptables are those of the containernetworking plugins', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using pod = await testNamespace();
  await runner.add(network('iptables', addresses), attachment(pod.path));
  const chain = 'CNI-a3f52ccdc47f2b59571933c7';
  const comment = String.raw`-m comment --comment "name: \"test-net\" id: \"c1\""`;
  const all = await rules();
  assert.deepEqual(all, [
    `-N ${chain}`,
    `-A POSTROUTING -s 10.1.2.2/32 ${comment} -j ${chain}`,
    `-A ${chain} -d 10.1.2.0/24 ${comment} -j ACCEPT`,
    `-A ${chain} ! -d 224.0.0.0/4 ${comment} -j MASQUERADE`,
    `-N ${chain}`,
    `-A POSTROUTING -s fd00:1::2/128 ${comment} -j ${chain}`,
    `-A ${chain} -d fd00:1::/64 ${comment} -j ACCEPT`,
    `-A ${chain} ! -d ff00::/8 ${comment} -j MASQUERADE`,
  ]);
  await runner.delete(network('iptables', addresses), attachment(pod.path));
});

test('the rules of nftables are those of the containernetworking plugins', async () => {
  await using addresses = await hostLocalAddresses(dualStack);
  await using pod = await testNamespace();
  await runner.add(network('nftables', addresses), attachment(pod.path));
  const listed = await runCommand('nft', ['list', 'table', 'inet', 'cni_plugins_masquerade']);
  const comment = 'comment "003a299e86300261-5bb1e0863ee62d24, net: test-net, if: net1, id: c1"';
  const lines = listed.split('\n').map((line) => line.trim());
  assert.deepEqual(
    lines.filter((line) => line !== '' && line !== '}'),
    [
      'table inet cni_plugins_masquerade {',
      'chain masq_checks {',
      `ip saddr 10.1.2.2 ip daddr != 10.1.2.0/24 masquerade ${comment}`,
      `ip6 saddr fd00:1::2 ip6 daddr != fd00:1::/64 masquerade ${comment}`,
      'chain postrouting {',
      'type nat hook postrouting priority srcnat; policy accept;',
      'ip daddr 224.0.0.0/4 return',
      'ip6 daddr ff00::/8 return',
      'goto masq_checks',
    ],
  );
  await runner.delete(network('nftables', addresses), attachment(pod.path));
});

test('an ADD again, after one whose DEL was lost, leaves one set of rules', async () => {
  for (const backend of backends) {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await runner.add(network(backend, addresses), attachment(pod.path));
    const before = await rules();
    await ip(pod.path, 'link', 'del', 'net1');
    const again = await hostLocalAddresses();
    await runner.add(network(backend, again), attachment(pod.path));
    assert.deepEqual(await rules(), before);
    await runner.delete(network(backend, again), attachment(pod.path));
    await again[Symbol.asyncDispose]();
    assert.deepEqual(await rules(), []);
  }
});

test('an interface name that nft could take for syntax is masqueraded too, and let go', async () => {
  await using addresses = await hostLocalAddresses();
  await using pod = await testNamespace();
  const place = attachment(pod.path, { ifName: String.raw`a";}\#ü` });
  await runner.add(network('nftables', addresses), place);
  assert.match((await rules()).join(), /, net: test-net, if: a;\}#, id: c1$/);
  await runner.delete(network('nftables', addresses), place);
  assert.deepEqual(await rules(), []);
});

test('a comment is cut where the kernel takes no more', async () => {
  for (const backend of backends) {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    const long = { ...network(backend, addresses), name: 'n'.repeat(200) };
    const place = attachment(pod.path, { containerId: 'c'.repeat(200) });
    await runner.add(long, place);
    assert.notDeepEqual(await rules(), []);
    await runner.delete(long, place);
    assert.deepEqual(await rules(), []);
  }
});

describe('which backend is taken', () => {
  /** Puts programs before all others in PATH that fail as on a node that lacks what they need. */
  async function withoutPrograms(names: readonly string[], work: () => Promise<void>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'plx-test-'));
    const path = process.env['PATH'];
    try {
      for (const name of names) {
        await writeFile(join(directory, name), '#!/bin/sh\necho "Protocol not supported" >&2\nexit 3\n');
        await chmod(join(directory, name), 0o755);
      }
      process.env['PATH'] = `${directory}:${path}`;
      await work();
    } finally {
      process.env['PATH'] = path;
      await rm(directory, { recursive: true });
    }
  }

  const iptables = ['iptables', 'ip6tables', 'iptables-restore', 'ip6tables-restore'];
  const taken = [
    { lacking: [], expected: /^-N CNI-/ },
    { lacking: ['nft'], expected: /^-N CNI-/ },
    { lacking: iptables, expected: /^[0-9a-f]{16}-[0-9a-f]{16}, / },
  ];
  for (const { lacking, expected } of taken) {
    test(`unless told, where ${lacking[0] ?? 'nothing'} is lacking`, async () => {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      await withoutPrograms(lacking, async () => {
        await runner.add(network('', addresses), attachment(pod.path));
      });
      assert.match((await rules())[0] ?? 'none', expected);
      await withoutPrograms(lacking, () => runner.delete(network('', addresses), attachment(pod.path)));
      assert.deepEqual(await rules(), []);
    });
  }

  const failing = [
    {
      lacking: [...iptables, 'nft'],
      backend: '',
      message: /^network "test-net": ipMasq: nft: Protocol not supported$/,
    },
    {
      lacking: iptables,
      backend: 'iptables',
      message: /^network "test-net": ipMasq: iptables: Protocol not supported$/,
    },
    { lacking: ['nft'], backend: 'nftables', message: /^network "test-net": ipMasq: nft: Protocol not supported$/ },
  ];
  for (const { lacking, backend, message } of failing) {
    test(`an ADD by "${backend}" fails where ${lacking.join(', ')} are lacking, and leaves nothing`, async () => {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      await withoutPrograms(lacking, () =>
        assert.rejects(runner.add(network(backend, addresses), attachment(pod.path)), {
          message,
          details: 'masquerading needs iptables or nftables on the node',
        }),
      );
      assert.deepEqual(await rules(), []);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a backend that nobody knows is refused', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await assert.rejects(runner.add(network('ipfw', addresses), attachment(pod.path)), {
      message: 'network "test-net": ipMasqBackend: expected iptables or nftables, found "ipfw"',
    });
  });

  test('a DEL needs no more of the configuration than it can read', async () => {
    await using pod = await testNamespace();
    for (const ipMasq of ['yes', 1, null]) await runner.delete(config('ptp', { ipMasq }), attachment(pod.path));
  });
});
