import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/kubernetes/client.ts';
import type { Log } from '../../src/kubernetes/log.ts';
import { networkSchema } from '../../src/kubernetes/schemas.ts';
import { Reflector, type WatchTimings } from '../../src/kubernetes/watch.ts';
import { networkAttachmentDefinitions as networks } from '../../src/playground/api/resources.ts';
import type { Api, ApiOptions } from '../../src/playground/api/server.ts';
import { network } from '../playground-api/manifests.ts';
import { apiWithClient, quick, silent, until } from './playground.ts';

const options = { timeout: 20_000 };

const path = '/apis/k8s.cni.cncf.io/v1/network-attachment-definitions';

/** A copy of an embedded API's networks. */
async function reflected(apiOptions: ApiOptions = {}, timings: Partial<WatchTimings> = {}, log: Log = silent) {
  const given = await apiWithClient(apiOptions);
  const { api, client } = given;
  const copy = new Reflector({ client, path, schema: networkSchema, log, timings: { ...quick, ...timings } });
  const lists: string[] = [];
  return {
    api,
    copy,
    /** The configurations of the copy, by name. */
    held: () => Object.fromEntries([...copy.values()].map(({ metadata, spec }) => [metadata.name, spec.config])),
    /** The queries of the lists that came since this was called. */
    lists: () => {
      const match = (method: string, url: string): boolean => {
        if (method === 'GET' && url.startsWith(path) && !url.includes('watch=true')) lists.push(url.slice(path.length));
        return false;
      };
      api.fault({ match });
      return lists;
    },
    async [Symbol.asyncDispose]() {
      await copy.close();
      await given[Symbol.asyncDispose]();
    },
  };
}

function change(api: Api, name: string, config: string): void {
  const before = api.store.get(networks, 'default', name);
  api.store.update({ ...before, spec: { config } });
}

test('a copy begins with a list and follows each change', options, async () => {
  await using running = await reflected({ objects: [network('a', '1'), network('b', '2')] });
  const { api, copy, held } = running;
  assert.equal(copy.listed, false);
  assert.match(copy.problem ?? '', /not listed yet/);
  await copy.synced;
  assert.deepEqual(held(), { a: '1', b: '2' });
  await until(() => copy.live);
  api.store.create(network('c', '3'));
  change(api, 'a', '4');
  api.store.delete(networks, 'default', 'b');
  await until(() => held()['b'] === undefined);
  assert.deepEqual(held(), { a: '4', c: '3' });
  assert.equal(copy.problem, undefined);
  assert.equal(copy.get('default', 'c')?.spec.config, '3');
  assert.equal(copy.get('other', 'c'), undefined);
});

test('a list of many pages is complete before any of it counts', options, async () => {
  const objects = Array.from({ length: 1_101 }, (_, index) => network(`n${index}`, String(index)));
  await using running = await reflected({ objects });
  const seen = running.lists();
  await running.copy.synced;
  assert.equal(Object.keys(running.held()).length, 1_101);
  assert.equal(seen.length, 3);
  assert.match(seen[0] ?? '', /resourceVersion=0/);
  assert.match(seen[2] ?? '', /^(?!.*resourceVersion).*continue=/);
});

test('a list whose next page the server no longer has begins anew', options, async () => {
  const objects = Array.from({ length: 501 }, (_, index) => network(`n${index}`));
  await using running = await reflected({ objects });
  running.api.fault({ match: (_method, url) => url.includes('continue='), fail: 'Expired' });
  const seen = running.lists();
  await running.copy.synced;
  assert.equal(Object.keys(running.held()).length, 501);
  assert.ok(seen.length >= 3, String(seen.length));
  assert.ok(!seen.at(-2)?.includes('resourceVersion'), 'the newest state is asked for');
});

/** Something happens to the connection or the server; the copy comes to the same state as the server, whatever it was. */
const disturbances: ReadonlyArray<{
  readonly what: string;
  readonly disturb: (api: Api) => void | Promise<void>;
  /** Whether everything has to be listed again. */
  readonly relists: boolean;
  readonly timings?: Partial<WatchTimings>;
}> = [
  { what: 'connections that are cut', disturb: (api) => api.cutWatches(), relists: false },
  {
    what: 'half-open connections',
    disturb: (api) => api.freezeWatches(),
    timings: { silence: 50 },
    relists: false,
  },
  { what: '410 Gone in the stream', disturb: (api) => api.expireWatches(), relists: true },
  {
    what: '410 Gone where a watch comes back',
    disturb: (api) => {
      change(api, 'a', 'meanwhile');
      api.forgetHistory();
      api.fault({ match: isWatch, fail: 'Expired' });
      api.cutWatches();
    },
    relists: true,
  },
  {
    what: 'a restart of the server',
    disturb: (api) => api.restart(() => change(api, 'a', 'meanwhile')),
    relists: false,
  },
  {
    what: 'a server restored from an older backup, whose versions are lower',
    disturb: (api) => api.restart(undefined, [network('a', 'restored'), network('c')]),
    relists: true,
  },
  {
    what: 'failures of the server, and its wish to be left alone',
    disturb: (api) => {
      api.fault({ match: isWatch, times: 5, fail: 'InternalError' });
      api.fault({ match: isWatch, times: 2, fail: 'TooManyRequests', retryAfterSeconds: 3600 });
      api.cutWatches();
    },
    relists: false,
  },
  {
    what: 'watches that are refused for good',
    disturb: (api) => {
      api.fault({ match: isWatch, times: 3, fail: 'BadRequest' });
      api.cutWatches();
    },
    relists: true,
  },
  {
    what: 'lines that are not JSON',
    disturb: (api) => {
      api.fault({ match: isWatch, times: 3, body: '<html>\n' });
      api.cutWatches();
    },
    relists: true,
  },
];

function isWatch(_method: string, url: string): boolean {
  return url.includes('watch=true');
}

for (const { what, disturb, relists, timings = {} } of disturbances) {
  test(`a copy survives ${what}`, options, async () => {
    await using running = await reflected({ objects: [network('a', '1'), network('b', '2')] }, timings);
    const { api, copy, held } = running;
    await until(() => copy.live);
    // The version is past the list's, so that going on from there is not the same as beginning again.
    for (let again = 0; again < 20; again++) change(api, 'b', `b${again}`);
    api.store.create(network('d'));
    await until(() => 'd' in held());
    const lists = running.lists();
    await disturb(api);
    if (api.store.find(networks, 'default', 'b') !== undefined) api.store.delete(networks, 'default', 'b');
    change(api, 'a', 'last');
    await until(() => held()['a'] === 'last' && !('b' in held()) && copy.live);
    const expected = api.store.list(networks).map(({ metadata }) => metadata.name);
    assert.deepEqual(Object.keys(held()).sort(), expected);
    assert.equal(copy.problem, undefined);
    assert.equal(lists.length > 0, relists, lists.join(' '));
    if (relists) assert.ok(!lists[0]?.includes('resourceVersion'), 'the newest state is asked for');
  });
}

test('a version that a watch waits for in vain is given up after three silences', options, async () => {
  await using running = await reflected({ objects: [network('a')] }, { silence: 20 });
  const { api, copy } = running;
  await until(() => copy.live);
  // A server without a cache, restored from a backup, waits for the version instead of refusing it.
  const lists = running.lists();
  const match = (method: string, url: string): boolean => {
    if (isWatch(method, url)) setImmediate(() => api.freezeWatches());
    return false;
  };
  api.fault({ match });
  api.freezeWatches();
  await until(() => lists.length > 0);
});

test('while it does not follow the server a copy says so, and why', options, async () => {
  await using running = await reflected({ objects: [network('a')] });
  const { api, copy } = running;
  await until(() => copy.live);
  await api.close();
  await until(() => !copy.live && copy.problem !== undefined);
  assert.ok(copy.listed);
  await until(() => copy.problem?.includes('ECONNREFUSED') ?? false);
  assert.ok(copy.problem?.includes(api.url));
});

test('a bookmark moves the version on, so that a quiet collection need not be listed again', options, async () => {
  await using running = await reflected({ objects: [network('a')], bookmarkEvery: 5 });
  const { api, copy } = running;
  await until(() => copy.live);
  const lists = running.lists();
  // Changes elsewhere, which the watch is not told of, are forgotten before it comes back.
  const watched: number[] = [];
  const match = (method: string, url: string): boolean => {
    if (isWatch(method, url)) watched.push(Number(new URL(url, api.url).searchParams.get('resourceVersion')));
    return false;
  };
  api.fault({ match });
  api.store.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'elsewhere' } });
  const { version } = api.store;
  do {
    const before = watched.length;
    // The server's bookmark is on its way before this ends: both wait on one loop.
    await sleep(20);
    api.cutWatches();
    await until(() => watched.length > before && copy.live);
  } while ((watched.at(-1) ?? 0) < version);
  assert.deepEqual(lists, []);
});

test('a watch ends when it was asked to, and goes on without a list', options, async (t: TestContext) => {
  const warn = t.mock.fn();
  await using running = await reflected({ objects: [network('a', '1')] }, { lifetime: 1 }, { ...silent, warn });
  const { api, copy, held } = running;
  await until(() => copy.live);
  const lists = running.lists();
  await until(() => !copy.live);
  change(api, 'a', '2');
  await until(() => held()['a'] === '2');
  assert.deepEqual(lists, []);
  assert.equal(warn.mock.callCount(), 0);
});

test('an object that is not as its type says is left out, and the others are kept', options, async (t) => {
  const warn = t.mock.fn();
  const broken = { ...network('broken'), spec: { config: 5 } };
  await using running = await reflected({ objects: [network('a'), broken] }, {}, { ...silent, warn });
  const { api, copy, held } = running;
  await until(() => copy.live);
  assert.deepEqual(Object.keys(held()), ['a']);
  const [problem] = warn.mock.calls[0]?.arguments ?? [];
  assert.match(problem.error, /^spec\.config: /);
  assert.equal(problem.object.name, 'broken');

  // What was readable and is no longer, is not answered in its old form.
  api.store.update({ ...api.store.get(networks, 'default', 'a'), spec: { config: 5 } });
  await until(() => !('a' in held()));
});

test('close ends everything, also what waits for a server that does not answer', options, async () => {
  await using running = await apiWithClient();
  running.api.fault({ hang: true });
  const client: Client = running.client;
  const copy = new Reflector({ client, path, schema: networkSchema, log: silent, timings: quick });
  await copy.close();
  await assert.rejects(copy.synced, /closed/);
  assert.equal(running.api.watches, 0);
});
