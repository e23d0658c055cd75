import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Runner } from '../../src/cni/runner.ts';
import { listTable } from '../../src/linux/iptables.ts';
import { listChain } from '../../src/linux/nftables.ts';
import { ensureCommands, goPlugins } from '../../tools/debian.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, withResult } from './support.ts';

/* A node is switched over while its pods run: what the containernetworking plugins made is found and removed, and back. */

becomeNode();

let path: readonly string[];
before(async () => {
  await ensureCommands(['iptables', 'nft']);
  path = [await goPlugins('1.9')];
});

const executed = new Runner({ builtin: [] });

/** The rules that are left. */
async function rules(): Promise<string[]> {
  const chains = await Promise.all([
    listChain({ family: 'inet', table: 'cni_plugins_masquerade', name: 'masq_checks' }),
    listChain({ family: 'bridge', table: 'nat', name: 'PREROUTING' }),
    listChain({ family: 'bridge', table: 'nat', name: 'cni-br-iface-c1-net1' }),
  ]);
  const tables = await Promise.all([listTable(4, 'nat'), listTable(6, 'nat')]);
  return [
    ...chains.flat().map(({ comment }) => `${comment}`),
    ...tables.flat().filter((line) => !line.startsWith('-P ')),
  ];
}

const plugins = { 'the original': executed, Plexus: runner };
for (const ipMasqBackend of ['iptables', 'nftables']) {
  for (const [first, second] of [
    ['the original', 'Plexus'],
    ['Plexus', 'the original'],
  ] as const) {
    // The original removes by iptables first and fails where that has no rules, also after an ADD of its own.
    if (second === 'the original' && ipMasqBackend === 'nftables') continue;
    test(`what ${first} attached, masquerading by ${ipMasqBackend}, ${second} checks and removes`, async () => {
      await using addresses = await hostLocalAddresses({
        ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
      });
      await using pod = await testNamespace();
      const keys = { bridge: 'br0', isDefaultGateway: true, hairpinMode: true, macspoofchk: true };
      const network = config('bridge', { ...keys, ipMasq: true, ipMasqBackend, ipam: addresses.ipam });
      const place = { ...attachment(pod.path), path };
      const result = await plugins[first].add(network, place);
      assert.notDeepEqual(await rules(), []);
      await plugins[second].check(withResult(network, result), place);
      await plugins[second].delete(withResult(network, result), place);
      assert.deepEqual(await rules(), []);
      assert.deepEqual(await ip(undefined, 'link', 'show', 'master', 'br0'), []);
      assert.equal((await ip(pod.path, 'link')).length, 1);
      assert.deepEqual(await addresses.reserved(), []);
      // The bridge that is left, with its address, serves the next attachment of either.
      await plugins[second].add(network, place);
      await runner.delete(network, place);
    });
  }
}

test('rules of a check that the original has made twice are removed together', async () => {
  await using pod = await testNamespace();
  const network = config('bridge', { bridge: 'br0', macspoofchk: true });
  const place = { ...attachment(pod.path), path };
  await executed.add(network, place);
  await ip(pod.path, 'link', 'del', 'net1');
  await executed.add(network, place);
  assert.equal((await listChain({ family: 'bridge', table: 'nat', name: 'PREROUTING' })).length, 2);
  await runner.delete(network, place);
  assert.deepEqual(await rules(), []);
});
