import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { PodNotFoundError, PodReplacedError, Pods } from '../../src/kubernetes/pods.ts';
import { pods as resource } from '../../src/playground/api/resources.ts';
import type { Api, ApiOptions } from '../../src/playground/api/server.ts';
import { pod } from '../playground-api/manifests.ts';
import { apiWithClient, quick, silent, until } from './playground.ts';

const options = { timeout: 20_000 };

async function watched(apiOptions: ApiOptions = {}) {
  const given = await apiWithClient(apiOptions);
  const pods = new Pods({ client: given.client, nodeName: 'node-1', log: silent, timings: quick });
  const gets: string[] = [];
  const match = (method: string, url: string): boolean => {
    if (method === 'GET' && url.startsWith('/api/v1/namespaces/')) gets.push(url);
    return false;
  };
  given.api.fault({ match });
  return {
    api: given.api,
    pods,
    /** The requests for one pod, so far. */
    gets,
    async [Symbol.asyncDispose]() {
      await pods[Symbol.asyncDispose]();
      await given[Symbol.asyncDispose]();
    },
  };
}

function uidOf(api: Api, name: string): string {
  return api.store.get(resource, 'default', name).metadata.uid;
}

test('a pod that the watch has is answered without a request', options, async () => {
  await using running = await watched({ objects: [pod('a', { annotations: { k: 'v' } })] });
  const { api, pods, gets } = running;
  await until(() => pods.watch.live);
  const { metadata } = await pods.get('default', 'a', uidOf(api, 'a'));
  assert.deepEqual(metadata.annotations, { k: 'v' });
  assert.deepEqual(gets, []);
});

test('of pods only the metadata is asked for, by list, watch and get', options, async () => {
  await using given = await apiWithClient({ objects: [pod('a')] });
  const asked: string[] = [];
  const match = (_method: string, url: string, { accept = '' }: { readonly accept?: string | undefined }): boolean => {
    asked.push(`${url.includes('watch=') ? 'watch' : 'read'} ${accept}`);
    return false;
  };
  given.api.fault({ match });
  await using pods = new Pods({ client: given.client, nodeName: 'node-1', log: silent, timings: quick });
  await until(() => pods.watch.live);
  given.api.store.create(pod('b'));
  await until(() => pods.watch.get('default', 'b') !== undefined);
  await pods.get('default', 'a');
  assert.deepEqual(asked, [
    'read application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
    'watch application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json',
    'read application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json',
  ]);
});

test('a pod that the watch has not seen yet is fetched', options, async () => {
  await using running = await watched({ objects: [pod('a')] });
  const { api, pods, gets } = running;
  await until(() => pods.watch.live);
  api.freezeWatches();
  api.store.create(pod('late'));
  const { metadata } = await pods.get('default', 'late', uidOf(api, 'late'));
  assert.equal(metadata.name, 'late');
  assert.deepEqual(gets, ['/api/v1/namespaces/default/pods/late']);
});

test('a pod is fetched before the first list is there, and once more where the server stumbles', options, async () => {
  await using given = await apiWithClient({ objects: [pod('a')] });
  given.api.fault({ match: (_method, url) => url.startsWith('/api/v1/pods'), hang: true });
  await using pods = new Pods({ client: given.client, nodeName: 'node-1', log: silent, timings: quick });
  given.api.fault({ match: (_method, url) => url.startsWith('/api/v1/namespaces/'), times: 2, reset: true });
  assert.equal((await pods.get('default', 'a', uidOf(given.api, 'a'))).metadata.name, 'a');
});

test('without a UID to compare, the watch is not trusted', options, async () => {
  await using running = await watched({ objects: [pod('a', { annotations: { k: 'old' } })] });
  const { api, pods, gets } = running;
  await until(() => pods.watch.live);
  api.freezeWatches();
  api.store.delete(resource, 'default', 'a');
  api.store.create(pod('a', { annotations: { k: 'new' } }));
  assert.deepEqual((await pods.get('default', 'a')).metadata.annotations, { k: 'new' });
  assert.equal(gets.length, 1);
});

test(
  'a pod that was created again under its name is fetched where the watch still has the old one',
  options,
  async () => {
    await using running = await watched({ objects: [pod('a')] });
    const { api, pods } = running;
    await until(() => pods.watch.live);
    api.freezeWatches();
    api.store.delete(resource, 'default', 'a');
    api.store.create(pod('a', { annotations: { k: 'new' } }));
    const { metadata } = await pods.get('default', 'a', uidOf(api, 'a'));
    assert.deepEqual(metadata.annotations, { k: 'new' });
  },
);

test('the sandbox of a pod that was replaced is refused, with both UIDs', options, async () => {
  await using running = await watched({ objects: [pod('a')] });
  const { api, pods } = running;
  await until(() => pods.watch.live);
  const uid = uidOf(api, 'a');
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
  await using running = await watched({ objects: [pod('a', { annotations })] });
  const { api, pods, gets } = running;
  await until(() => pods.watch.live);
  assert.equal((await pods.get('default', 'a', 'f00d')).metadata.uid, uidOf(api, 'a'));
  assert.deepEqual(gets, []);
  await assert.rejects(pods.get('default', 'a', 'beef'), /belongs to the pod with UID beef, .* one with UID f00d$/);
});

test('a pod that was deleted does not exist, neither do impossible names', options, async () => {
  await using running = await watched({ objects: [pod('a')] });
  const { api, pods } = running;
  await until(() => pods.watch.live);
  const uid = uidOf(api, 'a');
  api.store.delete(resource, 'default', 'a');
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
  assert.equal(running.gets.length, 1);
});

test(
  'while the server is away a pod is answered as it was last seen, and an unknown one is to be tried again',
  options,
  async () => {
    await using running = await watched({ objects: [pod('a')] });
    const { api, pods } = running;
    await until(() => pods.watch.live);
    const uid = uidOf(api, 'a');
    await api.close();
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
  running.api.fault({ match: (_method, url) => url.startsWith('/api/v1/namespaces/'), body: '{"metadata":{}}' });
  await assert.rejects(running.pods.get('default', 'a'), (error) => {
    assert.ok(error instanceof CniError);
    assert.equal(error.code, 11);
    assert.match(error.details, /^metadata\.name: .*; metadata\.namespace: .*; metadata\.uid: /);
    return true;
  });
});
