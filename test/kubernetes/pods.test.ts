import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { PodNotFoundError, PodReplacedError, Pods } from '../../src/kubernetes/pods.ts';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import { pods as resource } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import type { Admin } from '../support/admin.ts';
import { quick, silent, until } from './playground.ts';
import { onEachServer } from './server.ts';

const options = { timeout: 60_000 };

await onEachServer((server) => {
  async function watched(...objects: KubernetesObject[]) {
    const given = await server.start(objects);
    const { admin, client, proxy } = given;
    const pods = new Pods({ client, nodeName: 'node-1', log: silent, timings: quick });
    return {
      proxy,
      admin,
      pods,
      /** The requests for one pod, so far. */
      gets: () => proxy.seen.map(({ path }) => path).filter((path) => path.startsWith('/api/v1/namespaces/')),
      async [Symbol.asyncDispose]() {
        await pods[Symbol.asyncDispose]();
        await given[Symbol.asyncDispose]();
      },
    };
  }

  test('a pod that the watch has is answered without a request', options, async () => {
    await using running = await watched(pod('a', { annotations: { k: 'v' } }));
    const { admin, pods, gets } = running;
    await until(() => pods.watch.live);
    const { metadata } = await pods.get('default', 'a', await uidOf(admin, 'a'));
    assert.deepEqual(metadata.annotations, { k: 'v' });
    assert.deepEqual(gets(), []);
  });

  test('of pods only the metadata is asked for, by list, watch and get', options, async () => {
    await using running = await watched(pod('a'));
    const { proxy, admin, pods } = running;
    await until(() => pods.watch.live);
    await admin.create(pod('b'));
    await until(() => pods.watch.get('default', 'b') !== undefined);
    await pods.get('default', 'a');
    const asked = proxy.seen.map(({ path, accept }) => `${path.includes('watch=') ? 'watch' : 'read'} ${accept}`);
    assert.deepEqual(asked, [
      'read application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
      'watch application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json',
      'read application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json',
    ]);
  });

  test('a pod that the watch has not seen yet is fetched', options, async () => {
    await using running = await watched(pod('a'));
    const { proxy, admin, pods, gets } = running;
    await until(() => pods.watch.live);
    proxy.freezeWatches();
    await admin.create(pod('late'));
    const { metadata } = await pods.get('default', 'late', await uidOf(admin, 'late'));
    assert.equal(metadata.name, 'late');
    assert.deepEqual(gets(), ['/api/v1/namespaces/default/pods/late']);
  });

  test(
    'a pod is fetched before the first list is there, and once more where the server stumbles',
    options,
    async () => {
      await using given = await server.start([pod('a')]);
      const { admin, client, proxy } = given;
      proxy.fault({ match: (_method, url) => url.startsWith('/api/v1/pods'), hang: true });
      await using pods = new Pods({ client, nodeName: 'node-1', log: silent, timings: quick });
      proxy.fault({ match: (_method, url) => url.startsWith('/api/v1/namespaces/'), times: 2, reset: true });
      assert.equal((await pods.get('default', 'a', await uidOf(admin, 'a'))).metadata.name, 'a');
    },
  );

  test('without a UID to compare, the watch is not trusted', options, async () => {
    await using running = await watched(pod('a', { annotations: { k: 'old' } }));
    const { proxy, admin, pods, gets } = running;
    await until(() => pods.watch.live);
    proxy.freezeWatches();
    await admin.delete(resource, 'default', 'a');
    await admin.create(pod('a', { annotations: { k: 'new' } }));
    assert.deepEqual((await pods.get('default', 'a')).metadata.annotations, { k: 'new' });
    assert.equal(gets().length, 1);
  });

  test('a pod that was created again under its name is fetched where the watch has the old one', options, async () => {
    await using running = await watched(pod('a'));
    const { proxy, admin, pods } = running;
    await until(() => pods.watch.live);
    proxy.freezeWatches();
    await admin.delete(resource, 'default', 'a');
    await admin.create(pod('a', { annotations: { k: 'new' } }));
    const { metadata } = await pods.get('default', 'a', await uidOf(admin, 'a'));
    assert.deepEqual(metadata.annotations, { k: 'new' });
  });

  test('the sandbox of a pod that was replaced is refused, with both UIDs', options, async () => {
    await using running = await watched(pod('a'));
    const { admin, pods } = running;
    await until(() => pods.watch.live);
    const uid = await uidOf(admin, 'a');
    await assert.rejects(pods.get('default', 'a', '0-0-0'), (error) => {
      assert.ok(error instanceof PodReplacedError);
      assert.equal(error.code, 11);
      assert.equal(
        error.message,
        `pod default/a: the sandbox belongs to the pod with UID 0-0-0, the Kubernetes API has one with UID ${uid}`,
      );
      return true;
    });
  });

  test('a static pod is known by the UID in the annotation of its mirror', options, async () => {
    const annotations = { 'kubernetes.io/config.mirror': 'f00d', 'kubernetes.io/config.source': 'file' };
    await using running = await watched(pod('a', { annotations }));
    const { admin, pods, gets } = running;
    await until(() => pods.watch.live);
    assert.equal((await pods.get('default', 'a', 'f00d')).metadata.uid, await uidOf(admin, 'a'));
    assert.deepEqual(gets(), []);
    await assert.rejects(pods.get('default', 'a', 'beef'), /belongs to the pod with UID beef, .* one with UID f00d$/);
  });

  test('a pod that was deleted does not exist, neither do impossible names', options, async () => {
    await using running = await watched(pod('a'));
    const { admin, pods } = running;
    await until(() => pods.watch.live);
    const uid = await uidOf(admin, 'a');
    await admin.delete(resource, 'default', 'a');
    await until(() => pods.watch.get('default', 'a') === undefined);
    for (const [namespace, name] of [
      ['default', 'a'],
      ['default', '../../secrets/x'],
      ['..', 'a'],
    ] as const) {
      await assert.rejects(pods.get(namespace, name, uid), (error) => {
        assert.ok(error instanceof PodNotFoundError);
        assert.equal(error.message, `pod ${namespace}/${name} does not exist`);
        return true;
      });
    }
    assert.equal(running.gets().length, 1);
  });

  test(
    'while the server is away a pod is as it was last seen, and an unknown one is to be tried again',
    options,
    async () => {
      await using running = await watched(pod('a'));
      const { proxy, admin, pods } = running;
      await until(() => pods.watch.live);
      const uid = await uidOf(admin, 'a');
      await proxy.close();
      await until(() => !pods.watch.live);
      assert.equal((await pods.get('default', 'a', uid)).metadata.uid, uid);
      assert.equal((await pods.get('default', 'a')).metadata.uid, uid);
      for (const [name, wanted] of [
        ['a', 'another-uid'],
        ['b', uid],
      ] as const) {
        await assert.rejects(pods.get('default', name, wanted), (error) => {
          assert.ok(error instanceof CniError);
          assert.equal(error.code, 11);
          assert.equal(error.message, `cannot read pod default/${name} from the Kubernetes API`);
          assert.match(error.details, /ECONNREFUSED/);
          return true;
        });
      }
    },
  );

  test('a pod that cannot be understood is an error, not a pod without networks', options, async () => {
    await using running = await watched();
    running.proxy.fault({ match: (_method, url) => url.startsWith('/api/v1/namespaces/'), body: '{"metadata":{}}' });
    await assert.rejects(running.pods.get('default', 'a'), (error) => {
      assert.ok(error instanceof CniError);
      assert.equal(error.code, 11);
      assert.match(error.details, /^metadata\.name: .*; metadata\.namespace: .*; metadata\.uid: /);
      return true;
    });
  });
});

async function uidOf(admin: Admin, name: string): Promise<string> {
  return (await admin.get(resource, 'default', name)).metadata.uid;
}
