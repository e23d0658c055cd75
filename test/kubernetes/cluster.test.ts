import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pods } from '../../src/playground/api/resources.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { playground, until } from './playground.ts';

const options = { timeout: 20_000 };

test('pods of this node and all networks are known once ready', options, async () => {
  await using running = await playground({
    objects: [pod('here'), pod('elsewhere', { node: 'node-2' }), network('net-a', '{"type":"macvlan"}')],
  });
  const { cluster } = running;
  await cluster.ready;
  assert.deepEqual(
    cluster.pods().map((known) => known.metadata.name),
    ['here'],
  );
  assert.equal((await cluster.network('default', 'net-a')).spec.config, '{"type":"macvlan"}');
  await until(() => cluster.problems().length === 0);
});

test('network-status and events reach the API', options, async () => {
  await using running = await playground({ objects: [pod('a')] });
  const { api, cluster } = running;
  const known = await cluster.pod('default', 'a');
  assert.equal(
    await cluster.setNetworkStatus(known, [{ name: 'aws-cni', interface: 'eth0', default: true, dns: {} }]),
    true,
  );
  cluster.event(known, { type: 'Normal', reason: 'AddedInterface', message: 'Add eth0' });
  await cluster.close();
  const written = api.store.get(pods, 'default', 'a').metadata.annotations?.['k8s.v1.cni.cncf.io/network-status'];
  assert.deepEqual(JSON.parse(written ?? ''), [{ name: 'aws-cni', interface: 'eth0', default: true, dns: {} }]);
});
