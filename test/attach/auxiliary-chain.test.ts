import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { sandboxStatus } from '../../src/attach/attached-networks.ts';
import { auxiliaryChain } from '../../src/attach/auxiliary-chain.ts';
import { checkSandbox } from '../../src/attach/check.ts';
import { parseSettings } from '../../src/attach/settings.ts';
import { CniError } from '../../src/cni/error.ts';
import { compareSandboxes } from '../../src/observe/compare.ts';
import { testDirectory } from '../support/directory.ts';
import { becomeNodeWith } from '../support/node.ts';
import { macvlan, type Node, startNode } from './node.ts';

becomeNodeWith('ens5', 'ens6');

/** A pod with one more network, on a node whose auxiliary chain has these plugins. */
async function chainedNode(files: Readonly<Record<string, object>>, namespace = 'default'): Promise<Node> {
  const node = await startNode((ipam) => ({
    namespace,
    networks: 'default/net-a',
    definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
    settings: { cniVersion: '1.1.0', auxiliaryCNIChainName: 'vendor-chain' },
  }));
  await mkdir(join(node.directory, 'vendor-chain'));
  for (const [name, config] of Object.entries(files)) {
    await writeFile(join(node.directory, 'vendor-chain', name), JSON.stringify(config));
  }
  return node;
}

for (const namespace of ['default', 'kube-system']) {
  test(`every pod goes through the auxiliary chain last of all, also one of ${namespace}`, async () => {
    await using node = await chainedNode({ '10-mark.conf': { type: 'faulty', mark: true } }, namespace);
    const before = await node.state();
    const result = await node.add();
    assert.deepEqual(
      result.ips.map(({ address }) => address),
      ['10.244.0.2/24'],
    );
    assert.deepEqual(node.configs, [
      {
        type: 'faulty',
        mark: true,
        name: 'vendor-chain',
        cniVersion: '1.1.0',
        prevResult: { cniVersion: '1.1.0' },
      },
    ]);
    const made = node.reports.map(({ planned }) => `${planned.ifName} ${planned.network}`);
    assert.deepEqual(made, ['eth0 cluster-net', 'net1 default/net-a', 'net2 vendor-chain']);

    await checkSandbox(node.attachment, node.journal, node.runner);
    await node.remove();
    const released = node.reports.filter(({ command }) => command === 'DEL').map(({ planned }) => planned.ifName);
    assert.deepEqual(released, ['net2', 'net1', 'eth0']);
    assert.deepEqual(await node.state(), before);
  });
}

test('a chain without an interface is neither in network-status nor an event, nor missing from the kernel', async () => {
  await using node = await chainedNode({ '10-mark.conf': { type: 'faulty' } });
  await node.add();
  const interfaces = node.networkStatus().map(({ interface: name }) => name);
  assert.deepEqual(interfaces, ['eth0', 'net1']);
  assert.equal((await node.events(2)).length, 2);
  const entry = await node.journal.read(node.attachment);
  assert.ok(entry);
  assert.deepEqual(
    (await sandboxStatus(entry)).map(({ interface: name }) => name),
    ['eth0', 'net1'],
  );
  const compared = await compareSandboxes([entry]);
  assert.deepEqual(
    compared.map(({ plugins, differences }) => [plugins.join(), differences]),
    [
      ['macvlan', []],
      ['macvlan', []],
      ['passthru,faulty', []],
    ],
  );
  await node.remove();
});

test('a chain that made an interface is in network-status and an event', async () => {
  await using node = await chainedNode({ '10-macvlan.conf': { type: 'macvlan', master: 'ens6' } });
  await node.add();
  assert.deepEqual(
    node.networkStatus().map(({ name, interface: ifName }) => `${ifName} ${name}`),
    ['eth0 cluster-net', 'net1 default/net-a', 'net2 vendor-chain'],
  );
  assert.equal((await node.events(3)).at(-1), 'AddedInterface: Add net2 [] from vendor-chain');
  await node.remove();
});

test('a plugin of the chain that fails leaves nothing of the pod', async () => {
  await using node = await chainedNode({ '10-mark.conf': { type: 'faulty' } });
  const before = await node.state();
  node.faults.add = new CniError(120, 'no');
  await assert.rejects(node.add(), (error) => {
    assert.ok(error instanceof CniError);
    assert.equal(error.code, 120);
    assert.match(error.message, /network vendor-chain, interface net2: .*no/);
    return true;
  });
  assert.deepEqual(await node.state(), before);
});

test('DEL works from the journal, whatever has become of the files of the chain', async () => {
  await using node = await chainedNode({ '10-mark.conf': { type: 'faulty' } });
  await node.add();
  await rm(join(node.directory, 'vendor-chain'), { recursive: true });
  node.faults.delete = new CniError(11, 'busy');
  await assert.rejects(node.remove(), { message: /network vendor-chain, interface net2/ });
  node.faults.delete = undefined;
  await node.remove();
  assert.deepEqual(await node.journal.list(), []);
});

test('a chain that would call Plexus itself is refused', async () => {
  await using node = await chainedNode({ '10-self.conf': { type: 'multus-shim' } });
  await assert.rejects(node.add(), /network "vendor-chain": type: expected a network plugin, found "multus-shim"/);
});

test('the directory is beside the default network, or in it, or else in cniConfigDir; without plugins there is no chain', async () => {
  await using directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  for (const name of ['run/chain', 'etc/chain', 'run/none']) await mkdir(at(name), { recursive: true });
  await writeFile(at('run/10-net.conf'), '{}');
  await writeFile(at('run/chain/a.conf'), '{"type":"a"}');
  await writeFile(at('etc/chain/b.conf'), '{"type":"b"}');
  const sourceFor = async (clusterNetwork: string, auxiliaryCNIChainName: string): Promise<string | undefined> => {
    const json = { clusterNetwork, auxiliaryCNIChainName, cniConfigDir: at('etc') };
    const [found] = await auxiliaryChain(parseSettings(json, 'the test'));
    return found?.source.replace(directory.path, '');
  };
  assert.equal(await sourceFor(at('run/10-net.conf'), 'chain'), 'auxiliaryCNIChainName, /run/chain');
  assert.equal(await sourceFor(at('run'), 'chain'), 'auxiliaryCNIChainName, /run/chain');
  assert.equal(await sourceFor(at('elsewhere/10-net.conf'), 'chain'), 'auxiliaryCNIChainName, /etc/chain');
  assert.equal(await sourceFor('net', 'chain'), 'auxiliaryCNIChainName, /etc/chain');
  assert.equal(await sourceFor(at('run'), 'none'), undefined);
  assert.equal(await sourceFor(at('run'), ''), undefined);
});

test('a name that leads elsewhere is refused', () => {
  assert.throws(
    () => parseSettings({ clusterNetwork: 'a', auxiliaryCNIChainName: '../bin' }, 'the test'),
    /auxiliaryCNIChainName: expected the name of a directory, without a slash, found "\.\.\/bin"/,
  );
});
