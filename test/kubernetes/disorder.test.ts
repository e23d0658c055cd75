import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { networkSchema } from '../../src/kubernetes/schemas.ts';
import { Reflector } from '../../src/kubernetes/watch.ts';
import { networkAttachmentDefinitions as networks } from '../../src/playground/api/resources.ts';
import type { Api } from '../../src/playground/api/server.ts';
import { network } from '../playground-api/manifests.ts';
import { apiWithClient, silent, until } from './playground.ts';

const path = '/apis/k8s.cni.cncf.io/v1/network-attachment-definitions';

/** One thing that happens, to the objects or to the connection. */
type Happening = (api: Api) => void | Promise<void>;

const name = fc.constantFrom('a', 'b', 'c', 'd');

/** Whatever there is of that name becomes something else, or nothing. */
const put = fc.tuple(name, fc.string()).map(
  ([which, config]): Happening =>
    (api) => {
      const before = api.store.find(networks, 'default', which);
      if (before === undefined) api.store.create(network(which, config));
      else api.store.update({ ...before, spec: { config } });
    },
);

const remove = name.map(
  (which): Happening =>
    (api) => {
      if (api.store.find(networks, 'default', which) !== undefined) api.store.delete(networks, 'default', which);
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
    async (api) => {
      api.cutWatches();
      await first(api);
      await second(api);
      api.forgetHistory();
    },
);

const disturbance = fc.constantFrom<Happening>(
  (api) => api.cutWatches(),
  (api) => api.freezeWatches(),
  (api) => api.expireWatches(),
  (api) => api.forgetHistory(),
  (api) => api.restart(),
  (api) => api.fault({ fail: 'InternalError', times: 2 }),
  (api) => api.fault({ fail: 'TooManyRequests', retryAfterSeconds: 60 }),
  (api) => api.fault({ fail: 'Expired' }),
  (api) => api.fault({ reset: true }),
  (api) => api.fault({ hang: true }),
  (api) => api.fault({ body: '{"items":' }),
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

test('whatever happens in whatever order, the copy ends up as the server is', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(happenings, async (all) => {
      await using running = await apiWithClient({ objects: [network('a')], bookmarkEvery: 5, history: 20 });
      const { api, client } = running;
      const timings = { firstRetry: 1, slowestRetry: 5, silence: 40, answer: 40 };
      await using copy = new Reflector({ client, path, schema: networkSchema, log: silent, timings });
      await until(() => copy.live);
      for (const happen of all) await happen(api);
      api.clearFaults();
      const state = () => [...copy.values()].map(({ metadata, spec }) => [metadata.name, spec.config]).sort();
      const wanted = api.store.list(networks).map((object) => networkSchema.parse(object));
      const expected = JSON.stringify(wanted.map(({ metadata, spec }) => [metadata.name, spec.config]));
      await until(() => copy.live && JSON.stringify(state()) === expected);
      assert.equal(copy.problem, undefined);
    }),
    // A failure takes as long as `until` is patient: too long to look for a shorter one.
    { numRuns: 30, endOnFailure: true },
  );
});
