import assert from 'node:assert/strict';
import { test } from 'node:test';
import { annotatePod, podEvents, readPod } from '../../src/kubernetes/annotate.ts';
import { Events } from '../../src/kubernetes/events.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import { silent } from './playground.ts';
import { onEachServer, type Running } from './server.ts';

const options = { timeout: 60_000 };

const annotation = 'k8s.v1.cni.cncf.io/networks';

async function annotationOf({ admin }: Running): Promise<string | undefined> {
  return (await admin.get(pods, 'default', 'a')).metadata.annotations?.[annotation];
}

await onEachServer((server) => {
  test('an annotation is set, and removed', options, async () => {
    await using running = await server.start([pod('a', { annotations: { own: 'kept' } })], 'administrator');
    const { client } = running;
    const changed = await annotatePod(client, await readPod(client, 'default', 'a'), annotation, 'net-a');
    assert.equal(await annotationOf(running), 'net-a');
    assert.deepEqual(changed.metadata.annotations, { own: 'kept', [annotation]: 'net-a' });
    await annotatePod(client, changed, annotation, undefined);
    assert.equal(await annotationOf(running), undefined);
  });

  test('a pod that somebody else has changed since it was read is left as it is', options, async () => {
    await using running = await server.start([pod('a')], 'administrator');
    const { admin, client } = running;
    const read = await readPod(client, 'default', 'a');
    await admin.change(pods, 'default', 'a', { metadata: { annotations: { [annotation]: 'theirs' } } });
    await assert.rejects(annotatePod(client, read, annotation, 'ours'), { status: 409 });
    assert.equal(await annotationOf(running), 'theirs');
  });

  test('a pod that took over the name is left as it is', options, async () => {
    await using running = await server.start([pod('a')], 'administrator');
    const { admin, client } = running;
    const read = await readPod(client, 'default', 'a');
    await admin.delete(pods, 'default', 'a');
    await admin.create(pod('a'));
    await assert.rejects(annotatePod(client, read, annotation, 'ours'), { status: 409 });
    assert.equal(await annotationOf(running), undefined);
  });

  for (const { what, object } of [
    { what: 'a pod', object: pod('a') },
    { what: 'a static pod', object: pod('a', { annotations: { 'kubernetes.io/config.mirror': 'f00d' } }) },
  ]) {
    test(`the events of ${what} are those that were recorded of it, and of no other`, options, async () => {
      await using running = await server.start([object, pod('b')], 'administrator');
      const { client } = running;
      const [own, other] = [await readPod(client, 'default', 'a'), await readPod(client, 'default', 'b')];
      const events = new Events({ client, log: silent, component: 'multus', nodeName: 'node-1' });
      const message = 'Add net1 [10.0.0.2/24] from default/net-a';
      for (const about of [own, own, other])
        events.record(about, { type: 'Normal', reason: 'AddedInterface', message });
      await events.close(5_000);
      const told = await podEvents(client, own);
      assert.deepEqual(
        told.map(({ uid, ...rest }) => rest),
        [{ reason: 'AddedInterface', message, count: 2 }],
      );
    });
  }
});
