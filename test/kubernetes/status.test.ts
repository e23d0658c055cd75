import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Client } from '../../src/kubernetes/client.ts';
import { type Pod, podSchema } from '../../src/kubernetes/schemas.ts';
import { type NetworkStatus, networkStatusAnnotation, setNetworkStatus } from '../../src/kubernetes/status.ts';
import type { Fault } from '../../src/playground/api/faults.ts';
import { pods } from '../../src/playground/api/resources.ts';
import type { Api } from '../../src/playground/api/server.ts';
import { pod } from '../playground-api/manifests.ts';
import { apiWithClient } from './playground.ts';

const options = { timeout: 20_000 };

const statuses: readonly NetworkStatus[] = [{ name: 'default/a', interface: 'net1', ips: ['10.0.0.1'], dns: {} }];

const never = new AbortController().signal;

/** A pod as the daemon knows it from the API. */
function known(api: Api): Pod {
  return podSchema.parse(api.store.get(pods, 'default', 'a'));
}

function write(client: Client, to: Pod): Promise<boolean> {
  return setNetworkStatus(client, to, statuses, never);
}

function written(api: Api): string | undefined {
  return api.store.get(pods, 'default', 'a').metadata.annotations?.[networkStatusAnnotation];
}

const patches = (method: string): boolean => method === 'PATCH';

test('the annotation is written as Multus writes it, beside what else the pod has', options, async () => {
  const objects = [{ ...pod('a', { annotations: { own: 'kept' } }), status: { phase: 'Running' } }];
  await using running = await apiWithClient({ objects });
  const { api, client } = running;
  const before = api.store.get(pods, 'default', 'a');
  assert.equal(await write(client, known(api)), true);
  const after = api.store.get(pods, 'default', 'a');
  assert.equal(written(api), JSON.stringify(statuses, undefined, 4));
  assert.equal(after.metadata.annotations?.['own'], 'kept');
  assert.deepEqual([after['spec'], after['status']], [before['spec'], before['status']]);
});

const healed: ReadonlyArray<{ readonly what: string; readonly fault: Fault }> = [
  { what: 'conflicts with other writers', fault: { times: 4, fail: 'Conflict' } },
  { what: 'failures of the server', fault: { times: 2, fail: 'InternalError' } },
  { what: 'connections that break', fault: { times: 2, reset: true } },
  {
    what: 'a server that asks to wait, though not for an hour',
    fault: { fail: 'TooManyRequests', retryAfterSeconds: 3600 },
  },
];

for (const { what, fault } of healed) {
  test(`writing is repeated after ${what}`, options, async () => {
    await using running = await apiWithClient({ objects: [pod('a')] });
    const { api, client } = running;
    api.fault({ ...fault, match: patches });
    assert.equal(await write(client, known(api)), true);
    assert.notEqual(written(api), undefined);
  });
}

test('a pod that is gone needs no status', options, async () => {
  await using running = await apiWithClient({ objects: [pod('a')] });
  const { api, client } = running;
  const gone = known(api);
  api.store.delete(pods, 'default', 'a');
  assert.equal(await write(client, gone), false);
});

for (const refusal of ['Invalid', 'Conflict'] as const) {
  test(
    `a pod that took over the name is never written to, and its refusal as ${refusal} is understood`,
    options,
    async () => {
      await using running = await apiWithClient({ objects: [pod('a')] });
      const { api, client } = running;
      const gone = known(api);
      api.store.delete(pods, 'default', 'a');
      api.store.create(pod('a'));
      if (refusal === 'Conflict') api.fault({ match: patches, fail: 'Conflict' });
      assert.equal(await write(client, gone), false);
      assert.equal(written(api), undefined);
    },
  );
}

test('a pod that is deleted between a conflict and the look at it is gone', options, async () => {
  await using running = await apiWithClient({ objects: [pod('a')] });
  const { api, client } = running;
  const gone = known(api);
  api.fault({ match: patches, fail: 'Conflict', met: () => void api.store.delete(pods, 'default', 'a') });
  assert.equal(await write(client, gone), false);
});

for (const fail of ['Forbidden', 'Invalid'] as const) {
  test(`a refusal as ${fail} is told at once`, options, async () => {
    await using running = await apiWithClient({ objects: [pod('a')] });
    const { api, client } = running;
    let attempts = 0;
    api.fault({ match: patches, times: 9, fail, met: () => attempts++ });
    await assert.rejects(write(client, known(api)), { reason: fail });
    assert.equal(attempts, 1);
  });
}

test('a server that does not come back is told in the end', options, async () => {
  await using running = await apiWithClient({ objects: [pod('a')] });
  const { api, client } = running;
  let attempts = 0;
  api.fault({ match: patches, times: 9, fail: 'ServiceUnavailable', met: () => attempts++ });
  await assert.rejects(write(client, known(api)), { reason: 'ServiceUnavailable' });
  assert.equal(attempts, 5);
});

test('who is stopped does not try again', options, async () => {
  await using running = await apiWithClient({ objects: [pod('a')] });
  const { api, client } = running;
  const stop = new AbortController();
  let attempts = 0;
  const met = (): void => {
    attempts++;
    stop.abort();
  };
  api.fault({ match: patches, times: 9, fail: 'ServiceUnavailable', met });
  await assert.rejects(setNetworkStatus(client, known(api), statuses, stop.signal));
  assert.equal(attempts, 1);
});

test('a status that no annotation can hold is refused before it is sent, with its size', options, async () => {
  await using running = await apiWithClient({ objects: [pod('a')] });
  const { api, client } = running;
  const [one] = statuses;
  assert.ok(one);
  const many = Array.from({ length: 2_000 }, () => one);
  await assert.rejects(
    setNetworkStatus(client, known(api), many, never),
    /^ApiError: network-status of pod default\/a is \d{6} bytes long, at most 204800 fit$/,
  );
  assert.equal(written(api), undefined);
});
