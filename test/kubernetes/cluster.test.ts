import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster } from '../../src/kubernetes/cluster.ts';
import { type KubernetesObject, textAt } from '../../src/playground/api/object.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { quick, silent, until } from './playground.ts';
import { accessTo, onEachServer } from './server.ts';

const options = { timeout: 60_000 };

await onEachServer((server) => {
  async function watched(...objects: KubernetesObject[]) {
    const given = await server.start(objects);
    const { admin, proxy } = given;
    const cluster = new Cluster({ access: accessTo(proxy), nodeName: 'node-1', log: silent, timings: quick });
    return {
      admin,
      proxy,
      cluster,
      async [Symbol.asyncDispose]() {
        await cluster.close();
        await given[Symbol.asyncDispose]();
      },
    };
  }

  test('pods of this node and all networks are known once ready', options, async () => {
    const elsewhere = pod('elsewhere', { node: 'node-2' });
    await using running = await watched(pod('here'), elsewhere, network('net-a', '{"type":"macvlan"}'));
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

  test('a pod is of this node from the moment it is bound to it', options, async () => {
    const { spec, ...rest } = pod('late');
    await using running = await watched({ ...rest, spec: { containers: spec.containers } });
    const { admin, cluster } = running;
    await cluster.ready;
    assert.deepEqual(cluster.pods(), []);
    await admin.bind('default', 'late', 'node-1');
    await until(() => cluster.pods().length === 1);
  });

  test('network-status reaches the API, and events do so before all ends', options, async () => {
    await using running = await watched(pod('a'));
    const { admin, cluster } = running;
    const known = await cluster.pod('default', 'a');
    const status = [{ name: 'aws-cni', interface: 'eth0', default: true, dns: {} }] as const;
    assert.equal(await cluster.setNetworkStatus(known, status), true);
    cluster.event(known, { type: 'Normal', reason: 'AddedInterface', message: 'Add eth0' });
    await cluster.close();
    const { annotations } = (await admin.get(pods, 'default', 'a')).metadata;
    assert.deepEqual(JSON.parse(annotations?.['k8s.v1.cni.cncf.io/network-status'] ?? ''), status);
    const [event] = await admin.list(events);
    assert.equal(textAt(event, 'message'), 'Add eth0');
    assert.equal(textAt(event, 'source.component'), 'multus');
  });

  test('a cluster that cannot be followed says of what, and why, and ends all the same', options, async () => {
    await using running = await watched();
    const { cluster, proxy } = running;
    await until(() => cluster.problems().length === 0);
    await proxy.close();
    await until(
      () => cluster.problems().length === 2 && cluster.problems().every((each) => each.includes('ECONNREFUSED')),
    );
    const [first, second] = cluster.problems();
    assert.match(first ?? '', /\/api\/v1\/pods of http/);
    assert.match(second ?? '', /\/network-attachment-definitions of http/);
    await cluster.close();
  });

  test('an end before the first list does not wait for it', options, async () => {
    await using given = await server.start();
    given.proxy.fault({ times: 2, hang: true });
    const cluster = new Cluster({ access: accessTo(given.proxy), nodeName: 'node-1', log: silent, timings: quick });
    await cluster.close();
    await assert.rejects(cluster.ready, /closed/);
  });
});
