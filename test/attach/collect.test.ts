import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { collectGarbage } from '../../src/attach/collect.ts';
import { parseNetworkConfig } from '../../src/cni/config.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import type { Key } from '../../src/journal/journal.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNodeWith } from '../support/node.ts';
import { type Node, startNode } from './node.ts';

becomeNodeWith('ens5');

const macvlan = (ipam: JsonObject): JsonObject => ({
  cniVersion: '1.1.0',
  name: 'net-a',
  type: 'macvlan',
  master: 'ens5',
  ipam: { ...ipam, subnet: '10.1.0.0/24' },
});

const start = () => startNode((ipam) => ({ networks: 'net-a', definitions: { 'net-a': macvlan(ipam) } }));

/** Somebody whom nobody knows any more has an address of the pod's second network. */
async function leak(node: Node): Promise<void> {
  const { journal, runner, attachment } = node;
  const planned = (await journal.read(attachment))?.plan.attachments[1];
  const { ipam } = JSON.parse(planned?.config ?? '{}');
  const config = { cniVersion: '1.1.0', name: 'net-a', type: 'host-local', ipam };
  await runner.add(config, { ...attachment, containerId: 'gone', ifName: 'net1' });
}

async function collect(node: Node, runtime: readonly Key[]): Promise<string[]> {
  const planned = (await node.journal.read(node.attachment))?.plan.attachments[0];
  const defaultNetwork = parseNetworkConfig(planned?.config ?? '', 'the default network');
  return collectGarbage({ defaultNetwork, further: [], runtime }, node.release);
}

const reserved = async (node: Node): Promise<string[]> => {
  const state: { reserved?: string[] } = await node.state();
  return state.reserved ?? [];
};

test('an address of no attachment is released, those of attachments stay', async () => {
  await using node = await start();
  await node.add();
  await leak(node);
  assert.deepEqual(await reserved(node), ['cluster-net/10.244.0.2', 'net-a/10.1.0.2', 'net-a/10.1.0.3']);
  assert.deepEqual(await collect(node, [node.attachment]), []);
  assert.deepEqual(await reserved(node), ['cluster-net/10.244.0.2', 'net-a/10.1.0.2']);
  await node.remove();
});

test('while the runtime knows a sandbox that the journal does not, only the default network is collected', async () => {
  await using node = await start();
  await node.add();
  await leak(node);
  const earlier = { containerId: 'attached-by-another', ifName: 'eth0' };
  assert.deepEqual(await collect(node, [node.attachment, earlier]), []);
  assert.deepEqual(await reserved(node), ['cluster-net/10.244.0.2', 'net-a/10.1.0.2', 'net-a/10.1.0.3']);
  await node.remove();
});

test('what the runtime does not name is stale: it is released, and its networks are collected for the last time', async () => {
  await using node = await start();
  await node.add();
  await leak(node);
  const { containerId } = node.attachment;
  assert.deepEqual(await collect(node, []), []);
  assert.deepEqual(await reserved(node), []);
  assert.deepEqual(await node.journal.list(), []);
  assert.equal(await node.journal.read({ containerId, ifName: 'eth0' }), undefined);
});

test('a network that was changed since keeps the addresses of all who have one, whichever configuration they have it by', async () => {
  await using node = await start();
  await node.add();
  const changed = pod('second', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'net-b' } });
  node.api.store.create(changed);
  const planned = (await node.journal.read(node.attachment))?.plan.attachments[1];
  const config = JSON.stringify({ ...JSON.parse(planned?.config ?? '{}'), mtu: 1400 });
  node.api.store.create(network('net-b', config));
  await using sandbox = await testNamespace();
  const second = { ...node.attachment, containerId: 'sandbox-2', netns: sandbox.path };
  await node.addAlso(second, 'second');
  assert.deepEqual(await reserved(node), [
    'cluster-net/10.244.0.2',
    'cluster-net/10.244.0.3',
    'net-a/10.1.0.2',
    'net-a/10.1.0.3',
  ]);
  assert.deepEqual(await collect(node, [node.attachment, second]), []);
  assert.equal((await reserved(node)).length, 4);
  assert.deepEqual(await collect(node, [second]), []);
  assert.deepEqual(await reserved(node), ['cluster-net/10.244.0.3', 'net-a/10.1.0.3']);
});

test('an entry that nobody can read keeps all but the default network from being collected, and is told', async () => {
  await using node = await start();
  await node.add();
  await leak(node);
  await writeFile(join(node.directory, 'journal/other:eth0'), 'no plan\n');
  const [failure, ...more] = await collect(node, [node.attachment]);
  assert.match(failure ?? '', /^container other: journal entry .*other:eth0 cannot be read: .*release by hand/);
  assert.deepEqual(more, []);
  assert.deepEqual(await reserved(node), ['cluster-net/10.244.0.2', 'net-a/10.1.0.2', 'net-a/10.1.0.3']);
  await node.remove();
});
