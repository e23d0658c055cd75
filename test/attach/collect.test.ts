import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectNetworks, staleKeys } from '../../src/attach/collect.ts';
import { parseNetworkConfig } from '../../src/cni/config.ts';
import type { JsonObject } from '../../src/cni/json.ts';
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

async function collect(node: Node, valid: readonly { containerId: string; ifName: string }[]): Promise<string[]> {
  const planned = (await node.journal.read(node.attachment))?.plan.attachments[0];
  const list = parseNetworkConfig(planned?.config ?? '', 'the default network');
  return collectNetworks(node.journal, list, valid, [], node.runner);
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

test('what the runtime does not name is stale', async () => {
  await using node = await start();
  await node.add();
  const { containerId } = node.attachment;
  assert.deepEqual(await staleKeys(node.journal, [{ containerId, ifName: 'eth0' }]), []);
  assert.deepEqual(await staleKeys(node.journal, [{ containerId, ifName: 'eth1' }]), [{ containerId, ifName: 'eth0' }]);
  await node.remove();
});
