import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textAt } from '../../src/playground/api/object.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
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
  assert.deepEqual(
    cluster.networks().map((known) => known.metadata.name),
    ['net-a'],
  );
  assert.equal((await cluster.network('default', 'net-a')).spec.config, '{"type":"macvlan"}');
  await until(() => cluster.problems().length === 0);
});

test('network-status reaches the API, and events do so before all ends', options, async () => {
  await using running = await playground({ objects: [pod('a')] });
  const { api, cluster } = running;
  const known = await cluster.pod('default', 'a');
  const status = [{ name: 'aws-cni', interface: 'eth0', default: true, dns: {} }] as const;
  assert.equal(await cluster.setNetworkStatus(known, status), true);
  cluster.event(known, { type: 'Normal', reason: 'AddedInterface', message: 'Add eth0' });
  await cluster.close();
  const written = api.store.get(pods, 'default', 'a').metadata.annotations?.['k8s.v1.cni.cncf.io/network-status'];
  assert.deepEqual(JSON.parse(written ?? ''), status);
  const [event] = api.store.list(events);
  assert.equal(textAt(event, 'message'), 'Add eth0');
  assert.equal(textAt(event, 'source.component'), 'multus');
});

test('a cluster that cannot be followed says of what, and why, and ends all the same', options, async () => {
  await using running = await playground();
  const { api, cluster } = running;
  await until(() => cluster.problems().length === 0);
  await api.close();
  await until(
    () => cluster.problems().length === 2 && cluster.problems().every((each) => each.includes('ECONNREFUSED')),
  );
  const [first, second] = cluster.problems();
  assert.match(first ?? '', /\/api\/v1\/pods of http/);
  assert.match(second ?? '', /\/network-attachment-definitions of http/);
  await cluster.close();
});

test('an end before the first list does not wait for it', options, async () => {
  await using running = await playground();
  running.api.fault({ times: 2, hang: true });
  await running.cluster.close();
  await assert.rejects(running.cluster.ready, /closed/);
});
