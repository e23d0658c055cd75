import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Log } from '../../src/kubernetes/log.ts';
import { networkSchema } from '../../src/kubernetes/schemas.ts';
import { Reflector, type WatchTimings } from '../../src/kubernetes/watch.ts';
import type { KubernetesObject } from '../../src/playground/api/object.ts';
import { networkAttachmentDefinitions as networks } from '../../src/playground/api/resources.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { quick, silent, until } from './playground.ts';
import { onEachServer, type Running } from './server.ts';

const options = { timeout: 60_000 };

const path = '/apis/k8s.cni.cncf.io/v1/network-attachment-definitions';

await onEachServer((server) => {
  /** A copy of a server's networks. */
  async function reflected(
    objects: readonly KubernetesObject[],
    timings: Partial<WatchTimings> = {},
    log: Log = silent,
  ) {
    const running = await server.start(objects);
    const { admin, client, proxy } = running;
    const copy = new Reflector({ client, path, schema: networkSchema, log, timings: { ...quick, ...timings } });
    return {
      running,
      proxy,
      admin,
      copy,
      /** The configurations of the copy, by name. */
      held: () => Object.fromEntries([...copy.values()].map(({ metadata, spec }) => [metadata.name, spec.config])),
      /** The queries of the lists that came since they were forgotten. */
      lists: () => queries(running, (query) => !isWatch('', query)),
      async [Symbol.asyncDispose]() {
        await copy.close();
        await running[Symbol.asyncDispose]();
      },
    };
  }

  test('a copy begins with a list and follows each change', options, async () => {
    await using running = await reflected([network('a', '1'), network('b', '2')]);
    const { admin, copy, held } = running;
    assert.equal(copy.listed, false);
    assert.match(copy.problem ?? '', /not listed yet/);
    await copy.synced;
    assert.deepEqual(held(), { a: '1', b: '2' });
    await until(() => copy.live);
    await admin.create(network('c', '3'));
    await change(running, 'a', '4');
    await admin.delete(networks, 'default', 'b');
    await until(() => held()['b'] === undefined);
    assert.deepEqual(held(), { a: '4', c: '3' });
    assert.equal(copy.problem, undefined);
    assert.equal(copy.get('default', 'c')?.spec.config, '3');
    assert.equal(copy.get('other', 'c'), undefined);
  });

  test('a list of many pages is complete before any of it counts', options, async () => {
    const objects = Array.from({ length: 1_101 }, (_, index) => network(`n${index}`, String(index)));
    await using running = await reflected(objects);
    await running.copy.synced;
    assert.equal(Object.keys(running.held()).length, 1_101);
    const lists = running.lists();
    assert.match(lists[0] ?? '', /resourceVersion=0/);
    // A server that answers from its memory may give all at once (Kubernetes API concepts, "Retrieving large results sets").
    assert.ok(lists.length === 1 || lists.length === 3, lists.join(' '));
    for (const next of lists.slice(1)) assert.match(next, /^(?!.*resourceVersion).*continue=/);
  });

  test('a list whose next page the server no longer has begins anew', options, async () => {
    const objects = Array.from({ length: 501 }, (_, index) => network(`n${index}`));
    await using running = await reflected([]);
    const { proxy, admin, copy, lists } = running;
    await until(() => copy.live);
    for (const object of objects) await admin.create(object);
    proxy.forgetSeen();
    let refused = 0;
    proxy.fault({ match: (_method, url) => url.includes('continue='), fail: 'Expired', met: () => refused++ });
    proxy.expireWatches();
    await until(() => Object.keys(running.held()).length === 501 && copy.live && refused === 1);
    assert.equal(lists().filter((query) => !query.includes('continue=')).length, 2);
    for (const query of lists()) assert.ok(!query.includes('resourceVersion'), 'the newest state is asked for');
  });

  /** Something happens to the connection or the server; the copy comes to the same state as the server. */
  const disturbances: ReadonlyArray<{
    readonly what: string;
    readonly disturb: (running: Running) => void | Promise<void>;
    /** Whether everything has to be listed again. */
    readonly relists: boolean;
    readonly timings?: Partial<WatchTimings>;
  }> = [
    {
      what: 'connections that are cut in the midst of a line',
      disturb: ({ proxy }) => proxy.cutWatches(),
      relists: false,
    },
    {
      what: 'half-open connections',
      disturb: ({ proxy }) => proxy.freezeWatches(),
      timings: { silence: 400 },
      relists: false,
    },
    { what: '410 Gone in the stream', disturb: ({ proxy }) => proxy.expireWatches(), relists: true },
    {
      what: '410 Gone where a watch comes back',
      disturb: async ({ proxy, admin }) => {
        await admin.change(networks, 'default', 'a', { spec: { config: 'meanwhile' } });
        proxy.fault({ match: isWatch, fail: 'Expired' });
        proxy.cutWatches();
      },
      relists: true,
    },
    {
      what: 'a history that was compacted while the connection was cut',
      disturb: async ({ proxy, admin }) => {
        proxy.freezeWatches();
        await admin.change(networks, 'default', 'a', { spec: { config: 'meanwhile' } });
        proxy.forgetBefore(await admin.version());
        proxy.cutWatches();
      },
      relists: true,
    },
    {
      what: 'a server that is away for a moment',
      disturb: ({ proxy, admin }) =>
        proxy.restart(async () => {
          await admin.change(networks, 'default', 'a', { spec: { config: 'meanwhile' } });
        }),
      relists: false,
    },
    {
      what: 'a server restored from an older backup, whose versions are lower',
      disturb: ({ proxy }) => {
        const message = 'Too large resource version: 1000, current: 10';
        const causes = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }];
        const object = { kind: 'Status', code: 504, reason: 'Timeout', message, details: { causes } };
        proxy.fault({ match: isWatch, body: `${JSON.stringify({ type: 'ERROR', object })}\n` });
        proxy.cutWatches();
      },
      relists: true,
    },
    {
      what: 'failures of the server, and its wish to be left alone',
      disturb: ({ proxy }) => {
        proxy.fault({ match: isWatch, times: 5, fail: 'InternalError' });
        proxy.fault({ match: isWatch, times: 2, fail: 'TooManyRequests', retryAfterSeconds: 3600 });
        proxy.cutWatches();
      },
      relists: false,
    },
    {
      what: 'watches that are refused for good',
      disturb: ({ proxy }) => {
        proxy.fault({ match: isWatch, times: 3, fail: 'BadRequest' });
        proxy.cutWatches();
      },
      relists: true,
    },
    {
      what: 'lines that are not JSON',
      disturb: ({ proxy }) => {
        proxy.fault({ match: isWatch, times: 3, body: '<html>\n' });
        proxy.cutWatches();
      },
      relists: true,
    },
  ];

  for (const { what, disturb, relists, timings = {} } of disturbances) {
    test(`a copy survives ${what}`, options, async () => {
      await using running = await reflected([network('a', '1'), network('b', '2')], timings);
      const { proxy, admin, copy, held, lists } = running;
      await until(() => copy.live);
      // The version is past the list's, so that going on from there is not the same as beginning again.
      for (let again = 0; again < 20; again++) await change(running, 'b', `b${again}`);
      await admin.create(network('d'));
      await until(() => 'd' in held());
      proxy.forgetSeen();
      await disturb(running.running);
      await admin.delete(networks, 'default', 'b');
      await change(running, 'a', 'last');
      await until(() => held()['a'] === 'last' && !('b' in held()) && copy.live);
      assert.deepEqual(Object.keys(held()).sort(), ['a', 'd']);
      assert.equal(copy.problem, undefined);
      assert.equal(lists().length > 0, relists, lists().join(' '));
      if (relists) assert.ok(!lists()[0]?.includes('resourceVersion'), 'the newest state is asked for');
    });
  }

  test('a version that the server never had, or no longer has, is left for a list', options, async () => {
    await using running = await reflected([network('a')], { silence: 200 });
    const { proxy, admin, copy, held, lists } = running;
    await until(() => copy.live);
    // The server itself answers: of the one it tells that it is too old, for the other it waits without a word.
    for (const version of ['1', '999999999999']) {
      proxy.forgetSeen();
      const edit = (line: string): string =>
        line.replaceAll(/"resourceVersion":"\d+"/g, `"resourceVersion":"${version}"`);
      proxy.fault({ match: isWatch, edit });
      proxy.cutWatches();
      await until(() => proxy.watches === 1 && copy.live);
      await change(running, 'a', `told with ${version}`);
      await until(() => held()['a'] === `told with ${version}`);
      proxy.cutWatches();
      // One that still has all its history may go on from the oldest version.
      await until(() => (version === '1' || lists().length > 0) && copy.live);
      await admin.create(network(`after-${version}`));
      await until(() => `after-${version}` in held());
    }
  });

  test('a version that a watch waits for in vain is given up after three silences', options, async () => {
    await using running = await reflected([network('a')], { silence: 50 });
    const { proxy, copy, lists } = running;
    await until(() => copy.live);
    // A server without a cache, restored from a backup, waits for the version instead of refusing it.
    proxy.forgetSeen();
    const edit = (): string => '';
    proxy.fault({ match: isWatch, times: Number.POSITIVE_INFINITY, edit });
    proxy.freezeWatches();
    await until(() => lists().length > 0);
  });

  test('while it does not follow the server a copy says so, and why', options, async () => {
    await using running = await reflected([network('a')]);
    const { proxy, copy } = running;
    await until(() => copy.live);
    const { url } = proxy;
    await proxy.close();
    await until(() => !copy.live && copy.problem !== undefined);
    assert.ok(copy.listed);
    await until(() => copy.problem?.includes('ECONNREFUSED') ?? false);
    assert.ok(copy.problem?.includes(url));
  });

  test('a bookmark moves the version on, so that a quiet collection need not be listed again', options, async () => {
    // A server sends one at the latest before a watch ends as it was asked to.
    await using running = await reflected([network('a')], { lifetime: 3_000 });
    const { proxy, admin, copy, lists } = running;
    await until(() => copy.live);
    proxy.forgetSeen();
    // Changes elsewhere, which the watch is not told of, are forgotten before it comes back.
    await admin.create(pod('elsewhere'));
    const version = Number(await admin.version());
    const watched = () => queries(running.running, (query) => isWatch('', query)).map((query) => versionIn(query));
    await until(() => watched().some((each) => each >= version));
    proxy.forgetBefore(String(version));
    proxy.cutWatches();
    await until(() => !copy.live);
    await until(() => copy.live);
    assert.deepEqual(lists(), []);
  });

  test('a watch ends when it was asked to, and goes on without a list', options, async (t: TestContext) => {
    const warn = t.mock.fn();
    await using running = await reflected([network('a', '1')], { lifetime: 1 }, { ...silent, warn });
    const { proxy, copy, held, lists } = running;
    await until(() => copy.live);
    proxy.forgetSeen();
    await until(() => !copy.live);
    await change(running, 'a', '2');
    await until(() => held()['a'] === '2');
    assert.deepEqual(lists(), []);
    assert.equal(warn.mock.callCount(), 0);
  });

  test('an object that is not as its type says is left out, and the others are kept', options, async (t) => {
    const warn = t.mock.fn();
    const running = await server.start([network('a'), network('broken', 'to be broken')]);
    await using _ended = running;
    const { proxy, admin, client } = running;
    // As of a definition without a schema: a server that has one takes no such object.
    const edit = (text: string): string => text.replaceAll('"config":"to be broken"', '"config":5');
    proxy.fault({ times: Number.POSITIVE_INFINITY, edit });
    const log = { ...silent, warn };
    await using copy = new Reflector({ client, path, schema: networkSchema, log, timings: quick });
    const names = () => [...copy.values()].map(({ metadata }) => metadata.name);
    await until(() => copy.live);
    assert.deepEqual(names(), ['a']);
    const [problem] = warn.mock.calls[0]?.arguments ?? [];
    assert.match(problem.error, /^spec\.config: /);
    assert.equal(problem.object.name, 'broken');

    // What was readable and is no longer, is not answered in its old form.
    await admin.change(networks, 'default', 'a', { spec: { config: 'to be broken' } });
    await until(() => names().length === 0);
  });

  test('close ends everything, also what waits for a server that does not answer', options, async () => {
    await using running = await server.start();
    const { proxy, client } = running;
    proxy.fault({ hang: true });
    const copy = new Reflector({ client, path, schema: networkSchema, log: silent, timings: quick });
    await copy.close();
    await assert.rejects(copy.synced, /closed/);
    assert.equal(proxy.watches, 0);
  });
});

function isWatch(_method: string, url: string): boolean {
  return url.includes('watch=true');
}

function versionIn(query: string): number {
  return Number(new URLSearchParams(query).get('resourceVersion'));
}

/** The queries of the requests for networks that came by. */
function queries({ proxy }: Pick<Running, 'proxy'>, wanted: (query: string) => boolean): string[] {
  return proxy.seen
    .filter((request) => request.path.startsWith(path))
    .map((request) => request.path.slice(path.length))
    .filter(wanted);
}

async function change({ admin }: Pick<Running, 'admin'>, name: string, config: string): Promise<void> {
  await admin.change(networks, 'default', name, { spec: { config } });
}
