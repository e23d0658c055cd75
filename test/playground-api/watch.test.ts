import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { at, textAt } from '../../src/playground/api/object.ts';
import { pods } from '../../src/playground/api/resources.ts';
import type { Api } from '../../src/playground/api/server.ts';
import { until } from '../kubernetes/playground.ts';
import { network, pod } from './manifests.ts';
import { servedApi, watched } from './support.ts';

const options = { timeout: 20_000 };

/** Events as `ADDED a`. */
const short = (events: readonly JsonObject[]): string[] =>
  events.map((event) => `${event['type']} ${textAt(event, 'object.metadata.name')}`);

function setNode(api: Api, name: string, nodeName: string): void {
  const before = api.store.get(pods, 'default', name);
  api.store.update({ ...before, spec: { nodeName, containers: [] } });
}

test('a watch from nowhere begins with what there is', options, async () => {
  await using running = await servedApi({ objects: [pod('b'), pod('a'), network('n')] });
  const { api } = running;
  const events = await watched(api, '/api/v1/pods?watch=true', 4, () => {
    api.store.create(pod('c'));
    api.store.delete(pods, 'default', 'a');
  });
  assert.deepEqual(short(events), ['ADDED a', 'ADDED b', 'ADDED c', 'DELETED a']);
});

test('a watch from a version gets each change since, once', options, async () => {
  await using running = await servedApi({ objects: [pod('a')] });
  const { api } = running;
  const { version } = api.store;
  setNode(api, 'a', 'x');
  api.store.create(network('n'));
  const events = await watched(api, `/api/v1/pods?watch=1&resourceVersion=${version}`, 2, () => setNode(api, 'a', 'y'));
  assert.deepEqual(short(events), ['MODIFIED a', 'MODIFIED a']);
  assert.deepEqual(
    events.map((event) => textAt(event, 'object.spec.nodeName')),
    ['x', 'y'],
  );
  assert.equal(textAt(events[1], 'object.metadata.resourceVersion'), String(api.store.version));
});

test(
  'what begins to be selected is added, what ceases to be is deleted, in its last selected form',
  options,
  async () => {
    await using running = await servedApi({ objects: [pod('a', { node: 'x' })] });
    const { api } = running;
    const path = `/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3Dy&resourceVersion=${api.store.version}`;
    const events = await watched(api, path, 3, () => {
      setNode(api, 'a', 'z');
      setNode(api, 'a', 'y');
      setNode(api, 'a', 'x');
      api.store.delete(pods, 'default', 'a');
      api.store.create(pod('b', { node: 'y' }));
    });
    assert.deepEqual(short(events), ['ADDED a', 'DELETED a', 'ADDED b']);
    assert.equal(textAt(events[1], 'object.spec.nodeName'), 'y');
    assert.ok(
      Number(textAt(events[1], 'object.metadata.resourceVersion')) >
        Number(textAt(events[0], 'object.metadata.resourceVersion')),
    );
  },
);

test('a watch of one object, and of one namespace', options, async () => {
  const objects = [pod('a'), pod('b'), pod('a', { namespace: 'team' })];
  await using running = await servedApi({ objects });
  const { api } = running;
  const add = (): void => void api.store.create(pod('z', { namespace: 'team' }));
  assert.deepEqual(short(await watched(api, '/api/v1/namespaces/default/pods/b?watch=true', 1)), ['ADDED b']);
  assert.deepEqual(short(await watched(api, '/api/v1/namespaces/team/pods?watch=true', 2, add)), [
    'ADDED a',
    'ADDED z',
  ]);
});

test('bookmarks tell of versions that brought nothing', options, async () => {
  await using running = await servedApi({ objects: [pod('a')], bookmarkEvery: 5 });
  const { api } = running;
  const path = `/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=${api.store.version}`;
  api.store.create(network('elsewhere'));
  const [event] = await watched(api, path, 1);
  assert.deepEqual([event?.['type'], at(event, 'object.kind')], ['BOOKMARK', 'Pod']);
  assert.equal(textAt(event, 'object.metadata.resourceVersion'), String(api.store.version));
});

test('a watch ends by itself when it was asked to, with a bookmark', options, async () => {
  await using running = await servedApi();
  const { api } = running;
  const path = `/api/v1/pods?watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=${api.store.version}`;
  const events = await watched(api, path, Number.POSITIVE_INFINITY);
  assert.deepEqual(
    events.map((event) => event['type']),
    ['BOOKMARK'],
  );
  assert.equal(api.watches, 0);
});

test('a version that is too old is told in the stream', options, async () => {
  await using running = await servedApi();
  const { api } = running;
  api.forgetHistory();
  const [event, ...more] = await watched(api, '/api/v1/pods?watch=true&resourceVersion=1', 2);
  assert.deepEqual(more, []);
  assert.deepEqual([event?.['type'], at(event, 'object.code'), at(event, 'object.reason')], ['ERROR', 410, 'Expired']);
});

test('a version that is still to come is waited for in silence', options, async () => {
  await using running = await servedApi({ bookmarkEvery: 1 });
  const { api } = running;
  const path = `/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=${api.store.version + 2}`;
  const [event] = await watched(api, path, 1, () => {
    for (const name of ['a', 'b', 'c']) api.store.create(pod(name));
  });
  assert.deepEqual([event?.['type'], textAt(event, 'object.metadata.name')], ['ADDED', 'c']);
});

test('a reader that leaves is forgotten, one that does not read is cut', options, async () => {
  await using running = await servedApi();
  const { api } = running;
  const stop = new AbortController();
  const response = await fetch(`${api.url}/api/v1/pods?watch=true`, { signal: stop.signal });
  assert.equal(api.watches, 1);
  stop.abort();
  await until(() => api.watches === 0);
  await response.body?.cancel().catch(() => {});

  // Its body is never read.
  await fetch(`${api.url}/api/v1/pods?watch=true`);
  const large = 'x'.repeat(1024 * 1024);
  for (let count = 0; count < 64 && api.watches > 0; count++) {
    api.store.create(pod(`p${count}`, { annotations: { large } }));
    await new Promise(setImmediate);
  }
  assert.equal(api.watches, 0);
});

test('a watch that has ended says nothing more, however often it is told to fail', options, async () => {
  await using running = await servedApi({ objects: [pod('a')] });
  const { api } = running;
  const events = await watched(api, '/api/v1/pods?watch=true', 2, () => {
    for (const _ of [1, 2]) api.expireWatches();
    api.store.create(pod('b'));
  });
  assert.deepEqual(
    events.map((event) => event['type']),
    ['ADDED', 'ERROR'],
  );
});
