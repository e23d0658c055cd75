import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Pod, podSchema } from '../../src/kubernetes/schemas.ts';
import { type NetworkStatus, networkStatusAnnotation, setNetworkStatus } from '../../src/kubernetes/status.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import type { Admin } from '../support/admin.ts';
import type { ProxyFault } from '../support/fault-proxy.ts';
import { onEachServer, type Running } from './server.ts';

const options = { timeout: 60_000 };

const statuses: readonly NetworkStatus[] = [{ name: 'default/a', interface: 'net1', ips: ['10.0.0.1'], dns: {} }];

const never = new AbortController().signal;

/** A pod as the daemon knows it from the API. */
async function known(admin: Admin): Promise<Pod> {
  return podSchema.parse(await admin.get(pods, 'default', 'a'));
}

function write({ client }: Running, to: Pod): Promise<boolean> {
  return setNetworkStatus(client, to, statuses, never);
}

async function written(admin: Admin): Promise<string | undefined> {
  return (await admin.get(pods, 'default', 'a')).metadata.annotations?.[networkStatusAnnotation];
}

const patches = (method: string): boolean => method === 'PATCH';

const healed: ReadonlyArray<{ readonly what: string; readonly fault: ProxyFault }> = [
  { what: 'conflicts with other writers', fault: { times: 4, fail: 'Conflict' } },
  { what: 'failures of the server', fault: { times: 2, fail: 'InternalError' } },
  { what: 'connections that break', fault: { times: 2, reset: true } },
  { what: 'answers that are lost', fault: { times: 2, lost: true } },
  {
    what: 'a server that asks to wait, though not for an hour',
    fault: { fail: 'TooManyRequests', retryAfterSeconds: 3600 },
  },
];

await onEachServer((server) => {
  test('the annotation is written as Multus writes it, beside what else the pod has', options, async () => {
    await using running = await server.start([pod('a', { annotations: { own: 'kept' } })]);
    const { admin } = running;
    const before = await admin.get(pods, 'default', 'a');
    assert.equal(await write(running, await known(admin)), true);
    const after = await admin.get(pods, 'default', 'a');
    assert.equal(await written(admin), JSON.stringify(statuses, undefined, 4));
    assert.equal(after.metadata.annotations?.['own'], 'kept');
    assert.deepEqual([after['spec'], after['status']], [before['spec'], before['status']]);
  });

  for (const { what, fault } of healed) {
    test(`writing is repeated after ${what}`, options, async () => {
      await using running = await server.start([pod('a')]);
      const { admin, proxy } = running;
      proxy.fault({ ...fault, match: patches });
      assert.equal(await write(running, await known(admin)), true);
      assert.equal(await written(admin), JSON.stringify(statuses, undefined, 4));
    });
  }

  test('what others write at the same time is kept', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin, proxy } = running;
    const seen = await known(admin);
    const meanwhile = () => admin.change(pods, 'default', 'a', { metadata: { annotations: { other: 'writer' } } });
    proxy.fault({ match: patches, met: meanwhile });
    assert.equal(await write(running, seen), true);
    const { annotations } = (await admin.get(pods, 'default', 'a')).metadata;
    assert.equal(annotations?.['other'], 'writer');
    assert.notEqual(annotations?.[networkStatusAnnotation], undefined);
  });

  test('a pod that is gone needs no status', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin } = running;
    const gone = await known(admin);
    await admin.delete(pods, 'default', 'a');
    assert.equal(await write(running, gone), false);
  });

  for (const refusal of ['as the server does', 'as a conflict'] as const) {
    test(`a pod that took over the name is never written to, refused ${refusal}`, options, async () => {
      await using running = await server.start([pod('a')]);
      const { admin, proxy } = running;
      const gone = await known(admin);
      await admin.delete(pods, 'default', 'a');
      await admin.create(pod('a'));
      if (refusal === 'as a conflict') proxy.fault({ match: patches, fail: 'Conflict' });
      assert.equal(await write(running, gone), false);
      assert.equal(await written(admin), undefined);
    });
  }

  test('a pod that is replaced while its status is on the way is not written to', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin, proxy } = running;
    const gone = await known(admin);
    const replace = async (): Promise<void> => {
      await admin.delete(pods, 'default', 'a');
      await admin.create(pod('a'));
    };
    proxy.fault({ match: patches, met: replace });
    assert.equal(await write(running, gone), false);
    assert.equal(await written(admin), undefined);
  });

  test('a static pod whose mirror is made anew meanwhile is told in the new one', options, async () => {
    const mirror = pod('a', { annotations: { 'kubernetes.io/config.mirror': 'f00d' } });
    await using running = await server.start([mirror]);
    const { admin, proxy } = running;
    const seen = await known(admin);
    const again = async (): Promise<void> => {
      await admin.delete(pods, 'default', 'a');
      await admin.create(mirror);
    };
    proxy.fault({ match: patches, met: again });
    assert.equal(await write(running, seen), true);
    assert.equal(await written(admin), JSON.stringify(statuses, undefined, 4));
  });

  test('the mirror of another static pod under the name is not written to', options, async () => {
    const mirror = (uid: string) => pod('a', { annotations: { 'kubernetes.io/config.mirror': uid } });
    await using running = await server.start([mirror('f00d')]);
    const { admin } = running;
    const seen = await known(admin);
    await admin.delete(pods, 'default', 'a');
    await admin.create(mirror('beef'));
    assert.equal(await write(running, seen), false);
    assert.equal(await written(admin), undefined);
  });

  test('a pod that is deleted between a conflict and the look at it is gone', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin, proxy } = running;
    const gone = await known(admin);
    proxy.fault({ match: patches, fail: 'Conflict', met: () => admin.delete(pods, 'default', 'a') });
    assert.equal(await write(running, gone), false);
  });

  for (const fail of ['Forbidden', 'Invalid'] as const) {
    test(`a refusal as ${fail} is told at once`, options, async () => {
      await using running = await server.start([pod('a')]);
      const { admin, proxy } = running;
      let attempts = 0;
      proxy.fault({ match: patches, times: 9, fail, met: () => attempts++ });
      await assert.rejects(write(running, await known(admin)), { reason: fail });
      assert.equal(attempts, 1);
    });
  }

  test('a server that does not come back is told in the end', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin, proxy } = running;
    let attempts = 0;
    proxy.fault({ match: patches, times: 9, fail: 'ServiceUnavailable', met: () => attempts++ });
    await assert.rejects(write(running, await known(admin)), { reason: 'ServiceUnavailable' });
    assert.equal(attempts, 5);
  });

  test('who is stopped does not try again', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin, client, proxy } = running;
    const stop = new AbortController();
    let attempts = 0;
    const met = (): void => {
      attempts++;
      stop.abort();
    };
    proxy.fault({ match: patches, times: 9, fail: 'ServiceUnavailable', met });
    await assert.rejects(setNetworkStatus(client, await known(admin), statuses, stop.signal));
    assert.equal(attempts, 1);
  });

  test('a status that no annotation can hold is refused before it is sent, with its size', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin, client } = running;
    const [one] = statuses;
    assert.ok(one);
    const many = Array.from({ length: 2_000 }, () => one);
    await assert.rejects(
      setNetworkStatus(client, await known(admin), many, never),
      /^ApiError: network-status of pod default\/a is \d{6} bytes long, at most 204800 fit$/,
    );
    assert.equal(await written(admin), undefined);
  });
});
