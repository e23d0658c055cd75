import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../kubernetes/playground.ts';
import { pod } from './manifests.ts';
import { servedApi } from './support.ts';

const options = { timeout: 20_000 };

test('faults meet the requests that they are for, as often as told, in the order they came', options, async () => {
  await using running = await servedApi({ objects: [pod('a')] });
  const { api, ask } = running;
  const met: string[] = [];
  api.fault({ match: (method) => method === 'DELETE', fail: 'Conflict', met: () => met.push('delete') });
  api.fault({ times: 2, fail: 'TooManyRequests', retryAfterSeconds: 3, met: () => met.push('two') });
  api.fault({ match: (_method, _path, headers) => headers.accept === 'text/x', body: '{"a":1}' });
  const first = await ask('GET', '/api/v1/pods');
  assert.deepEqual([first.status, first.body['reason']], [429, 'TooManyRequests']);
  assert.equal((await ask('DELETE', '/api/v1/namespaces/default/pods/a')).status, 409);
  assert.equal((await ask('GET', '/api/v1/pods')).status, 429);
  assert.deepEqual((await ask('GET', '/api/v1/pods', { accept: 'text/x' })).body, { a: 1 });
  assert.equal((await ask('GET', '/api/v1/pods')).status, 200);
  assert.deepEqual(met, ['two', 'delete', 'two']);
  api.fault({ times: 9, fail: 'InternalError' });
  api.clearFaults();
  assert.equal((await ask('GET', '/api/v1/pods')).status, 200);
});

test('a connection is closed without an answer, or left without one for ever', options, async () => {
  await using running = await servedApi();
  const { api, ask } = running;
  api.fault({ reset: true });
  await assert.rejects(ask('GET', '/api/v1/pods'));
  api.fault({ hang: true });
  const signal = AbortSignal.timeout(30);
  await assert.rejects(fetch(`${api.url}/api/v1/pods`, { signal }), { name: 'TimeoutError' });
});

test(
  'an answer is lost though what was asked for is done, and a request waits for what happens meanwhile',
  options,
  async () => {
    await using running = await servedApi({ objects: [pod('a')] });
    const { api, ask } = running;
    api.fault({ lost: true });
    await assert.rejects(ask('POST', '/api/v1/namespaces/default/pods', { body: pod('b') }));
    assert.equal((await ask('GET', '/api/v1/namespaces/default/pods/b')).status, 200);
    const meanwhile = async (): Promise<void> => {
      await ask('DELETE', '/api/v1/namespaces/default/pods/a');
    };
    api.fault({ match: (method) => method === 'GET', met: meanwhile });
    assert.equal((await ask('GET', '/api/v1/namespaces/default/pods/a')).status, 404);
  },
);

test('a restart is on the same port, with all that there was, or with a new beginning', options, async () => {
  await using running = await servedApi({ objects: [pod('a')] });
  const { api, ask } = running;
  const { port, store } = api;
  await api.restart(async () => {
    await assert.rejects(ask('GET', '/api/v1/pods'));
    store.create(pod('b'));
  });
  assert.deepEqual([api.port, api.store, store.version], [port, store, api.store.version]);
  assert.equal((await ask('GET', '/api/v1/namespaces/default/pods/b')).status, 200);
  const { version } = store;
  await api.restart(undefined, []);
  assert.equal((await ask('GET', '/api/v1/namespaces/default/pods/b')).status, 404);
  assert.ok(api.store.version < version);
});

test('closing ends watches, also frozen ones', options, async () => {
  await using running = await servedApi();
  const { api } = running;
  const responses = await Promise.all([1, 2].map(() => fetch(`${api.url}/api/v1/pods?watch=true`)));
  await until(() => api.watches === 2);
  api.freezeWatches();
  await api.close();
  for (const response of responses) await assert.rejects(response.text());
});
