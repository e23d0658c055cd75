import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { networkSchema } from '../../src/kubernetes/schemas.ts';
import { Reflector } from '../../src/kubernetes/watch.ts';
import { networkAttachmentDefinitions as networks } from '../../src/playground/api/resources.ts';
import { network } from '../playground-api/manifests.ts';
import { silent, until } from './playground.ts';
import { onEachServer, type Running } from './server.ts';

const path = '/apis/k8s.cni.cncf.io/v1/network-attachment-definitions';

/** One thing that happens, to the objects or to the connection. */
type Happening = (running: Running) => unknown;

const name = fc.constantFrom('a', 'b', 'c', 'd');

/** Whatever there is of that name becomes something else, or nothing. */
const put = fc.tuple(name, fc.string()).map(
  ([which, config]): Happening =>
    async ({ admin }) => {
      const before = await admin.find(networks, 'default', which);
      if (before === undefined) await admin.create(network(which, config));
      else await admin.change(networks, 'default', which, { spec: { config } });
    },
);

const remove = name.map(
  (which): Happening =>
    async ({ admin }) => {
      const before = await admin.find(networks, 'default', which);
      if (before !== undefined) await admin.delete(networks, 'default', which);
    },
);

const pause = fc.nat(5).map(
  (milliseconds): Happening =>
    () =>
      sleep(milliseconds),
);

/** While nobody watches, something becomes or ceases to be that no watch can be told of any more. */
const forgotten = fc.tuple(put, remove).map(
  ([first, second]): Happening =>
    async (running) => {
      const { admin, proxy } = running;
      proxy.freezeWatches();
      await first(running);
      await second(running);
      proxy.forgetBefore(await admin.version());
      proxy.cutWatches();
    },
);

const disturbance = fc.constantFrom<Happening>(
  ({ proxy }) => proxy.cutWatches(),
  ({ proxy }) => proxy.freezeWatches(),
  ({ proxy }) => proxy.expireWatches(),
  async ({ admin, proxy }) => proxy.forgetBefore(await admin.version()),
  ({ proxy }) => proxy.restart(),
  ({ proxy }) => proxy.fault({ fail: 'InternalError', times: 2 }),
  ({ proxy }) => proxy.fault({ fail: 'TooManyRequests', retryAfterSeconds: 60 }),
  ({ proxy }) => proxy.fault({ fail: 'Expired' }),
  ({ proxy }) => proxy.fault({ reset: true }),
  ({ proxy }) => proxy.fault({ lost: true }),
  ({ proxy }) => proxy.fault({ hang: true }),
  ({ proxy }) => proxy.fault({ body: '{"items":' }),
);

const happenings = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: put },
    { weight: 2, arbitrary: remove },
    { weight: 5, arbitrary: pause },
    { weight: 2, arbitrary: disturbance },
    forgotten,
  ),
  { maxLength: 60, size: 'max' },
);

await onEachServer((server) => {
  test('whatever happens in whatever order, the copy ends up as the server is', { timeout: 300_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(happenings, async (all) => {
        await using running = await server.start([network('a')]);
        const { admin, client, proxy } = running;
        const timings = { firstRetry: 1, slowestRetry: 5, silence: 150, answer: 150 };
        await using copy = new Reflector({ client, path, schema: networkSchema, log: silent, timings });
        await until(() => copy.live);
        for (const happen of all) await happen(running);
        proxy.clearFaults();
        const state = () => [...copy.values()].map(({ metadata, spec }) => [metadata.name, spec.config]).sort();
        const wanted = (await admin.list(networks)).map((object) => networkSchema.parse(object));
        const expected = JSON.stringify(wanted.map(({ metadata, spec }) => [metadata.name, spec.config]));
        await until(() => copy.live && JSON.stringify(state()) === expected);
        assert.equal(copy.problem, undefined);
      }),
      // A failure takes as long as `until` is patient: too long to look for a shorter one.
      { numRuns: 30, endOnFailure: true },
    );
  });
});
