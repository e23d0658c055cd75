import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Events, type EventsOptions, type PodEvent } from '../../src/kubernetes/events.ts';
import { type Pod, podSchema } from '../../src/kubernetes/schemas.ts';
import { at, type KubernetesObject, textAt } from '../../src/playground/api/object.ts';
import { pods, events as resource } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import type { Admin } from '../support/admin.ts';
import { silent, until } from './playground.ts';
import { onEachServer } from './server.ts';

const options = { timeout: 60_000 };

const added: PodEvent = { type: 'Normal', reason: 'AddedInterface', message: 'Add eth0 [10.0.0.2/24] from aws-cni' };

/** Events of which the tests know that they are theirs. */
const written = async (admin: Admin) =>
  (await admin.list(resource)).filter((event) => textAt(event, 'source.component') === 'multus');

async function known(admin: Admin, name = 'a'): Promise<Pod> {
  return podSchema.parse(await admin.get(pods, 'default', name));
}

const numbered = (count: number): PodEvent[] =>
  Array.from({ length: count }, (_, index) => ({ ...added, message: `message ${index}` }));

await onEachServer((server) => {
  async function recorder(objects: readonly KubernetesObject[], more: Partial<EventsOptions> = {}) {
    const given = await server.start(objects);
    const { admin, client, proxy } = given;
    const events = new Events({ client, log: silent, component: 'multus', nodeName: 'node-1', ...more });
    return {
      admin,
      proxy,
      events,
      /** The messages that the server has, in the order of their names. */
      messages: async () => (await written(admin)).map((event) => textAt(event, 'message')),
      async [Symbol.asyncDispose]() {
        await events.close(0);
        await given[Symbol.asyncDispose]();
      },
    };
  }

  test('an event waits for its turn, for so long and no longer', options, async () => {
    const turn = Promise.withResolvers<void>();
    let asked = 0;
    const waits = () => {
      asked++;
      return turn.promise;
    };
    await using running = await recorder([pod('a')], { turn: waits, patience: 60_000 });
    const about = await known(running.admin);
    running.events.record(about, added);
    await until(() => asked === 1);
    assert.deepEqual(await running.messages(), []);
    turn.resolve();
    await until(async () => (await running.messages()).length === 1);

    await using impatient = await recorder([pod('a')], { turn: () => new Promise(() => {}), patience: 1 });
    impatient.events.record(await known(impatient.admin), added);
    await until(async () => (await impatient.messages()).length === 1);
  });

  test('the end comes before the turn: what waits is written', options, async () => {
    await using running = await recorder([pod('a')], { turn: () => new Promise(() => {}), patience: 60_000 });
    running.events.record(await known(running.admin), added);
    await running.events.close(5_000);
    assert.deepEqual(await running.messages(), [added.message]);
  });

  test('an event says what, of whom, from whom and when', options, async () => {
    await using running = await recorder([pod('a')]);
    const { admin, events } = running;
    const about = await known(admin);
    const before = new Date().toISOString().slice(0, 19);
    events.record(about, added);
    await events.close(5_000);
    const [event, ...others] = await written(admin);
    assert.ok(event);
    assert.deepEqual(others, []);
    // kube-apiserver also writes what an event of the older form does not have.
    const { metadata, firstTimestamp, lastTimestamp, eventTime, ...rest } = event;
    assert.equal(eventTime ?? undefined, undefined);
    assert.match(metadata.name, /^a\.[0-9a-f]{16}$/);
    assert.equal(metadata.namespace, 'default');
    assert.match(String(firstTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.equal(firstTimestamp, lastTimestamp);
    assert.ok(String(firstTimestamp) >= before);
    assert.deepEqual(rest, {
      apiVersion: 'v1',
      kind: 'Event',
      involvedObject: {
        apiVersion: 'v1',
        kind: 'Pod',
        name: 'a',
        namespace: 'default',
        uid: about.metadata.uid,
        resourceVersion: about.metadata.resourceVersion,
      },
      ...added,
      source: { component: 'multus', host: 'node-1' },
      reportingComponent: 'multus',
      reportingInstance: 'node-1',
      count: 1,
    });
  });

  test("a static pod's events are about the UID that kubectl looks for", options, async () => {
    await using running = await recorder([pod('a', { annotations: { 'kubernetes.io/config.mirror': 'f00d' } })]);
    running.events.record(await known(running.admin), added);
    await running.events.close(5_000);
    assert.equal(textAt((await written(running.admin))[0], 'involvedObject.uid'), 'f00d');
  });

  test('events are written in the order they happened, and are listed in it', options, async () => {
    await using running = await recorder([pod('a')]);
    const { admin, events, messages } = running;
    const many = numbered(30);
    const about = await known(admin);
    for (const event of many) events.record(about, event);
    await events.close(5_000);
    assert.deepEqual(
      await messages(),
      many.map(({ message }) => message),
    );
  });

  test('an event that happens again is counted; of another pod, it is another', options, async () => {
    await using running = await recorder([pod('a'), pod('b')]);
    const { admin, events } = running;
    events.record(await known(admin), added);
    await until(async () => (await written(admin)).length === 1);
    events.record(await known(admin), added);
    events.record(await known(admin, 'b'), added);
    await until(async () => (await written(admin)).length === 2);
    events.record(await known(admin), added);
    await events.close(5_000);
    const counts = (await written(admin)).map((event) => [textAt(event, 'involvedObject.name'), at(event, 'count')]);
    assert.deepEqual(counts, [
      ['a', 3],
      ['b', 1],
    ]);
  });

  const floods = [
    { type: 'Warning', reason: 'FailedAddingInterface', kept: 10 },
    { type: 'Normal', reason: 'AddedInterface', kept: 100 },
  ] as const;
  for (const { type, reason, kept } of floods) {
    test(
      `of events ${type} that differ in their messages, ${kept} are kept, and more are counted as one`,
      options,
      async () => {
        await using running = await recorder([pod('a'), pod('b')]);
        const { admin, events } = running;
        const about = await known(admin);
        for (let i = 0; i < kept + 20; i++) events.record(about, { type, reason, message: `try ${i}` });
        events.record(about, { type, reason, message: 'try 0' });
        events.record(about, { type, reason: 'Other', message: 'of another reason' });
        events.record(await known(admin, 'b'), { type, reason, message: 'of another pod' });
        await events.close(20_000);
        const found = (await written(admin)).map((event) => [textAt(event, 'message'), at(event, 'count')]);
        assert.equal(found.length, kept + 3);
        const several = found.filter(([, count]) => count !== 1);
        assert.deepEqual(several, [
          ['try 0', 2],
          [`(combined from similar events): try ${kept + 19}`, 20],
        ]);
      },
    );
  }

  test('an event that happens again while it waits is sent once, with its count', options, async () => {
    await using running = await recorder([pod('a')]);
    const { admin, proxy, events } = running;
    let sent = 0;
    const match = (method: string): boolean => {
      if (method !== 'GET') sent++;
      return false;
    };
    proxy.fault({ match });
    const about = await known(admin);
    events.record(about, { ...added, message: 'first' });
    for (let times = 0; times < 100; times++) events.record(about, added);
    await events.close(5_000);
    assert.equal(sent, 2);
    assert.deepEqual(
      (await written(admin)).map((event) => at(event, 'count')),
      [1, 100],
    );
  });

  test('an event that the server has dropped meanwhile is written anew, with its count', options, async () => {
    await using running = await recorder([pod('a')]);
    const { admin, events } = running;
    events.record(await known(admin), added);
    await until(async () => (await written(admin)).length === 1);
    const [first] = await written(admin);
    assert.ok(first);
    await admin.delete(resource, 'default', first.metadata.name);
    events.record(await known(admin), added);
    await events.close(5_000);
    assert.deepEqual(
      (await written(admin)).map((event) => at(event, 'count')),
      [2],
    );
  });

  test(
    'events wait for a server that is away, and none is written twice where an answer was lost',
    options,
    async () => {
      await using running = await recorder([pod('a')]);
      const { admin, proxy, events, messages } = running;
      const match = (method: string): boolean => method === 'POST';
      proxy.fault({ match, times: 2, fail: 'ServiceUnavailable' });
      // Written, though its writer never hears of it and asks again.
      proxy.fault({ match, lost: true });
      const about = await known(admin);
      for (const event of numbered(2)) events.record(about, event);
      await events.close(10_000);
      assert.deepEqual(await messages(), ['message 0', 'message 1']);
    },
  );

  test(
    'an event that is refused is dropped with its reason, and the next one is written',
    options,
    async (t: TestContext) => {
      const warn = t.mock.fn();
      await using running = await recorder([pod('a')], { log: { ...silent, warn } });
      const { admin, proxy, events, messages } = running;
      proxy.fault({ match: (method) => method === 'POST', fail: 'Forbidden' });
      const about = await known(admin);
      for (const event of numbered(2)) events.record(about, event);
      await events.close(5_000);
      assert.deepEqual(await messages(), ['message 1']);
      const [problem] = warn.mock.calls[0]?.arguments ?? [];
      assert.equal(problem.event, 'message 0');
      assert.match(problem.error, /403 Forbidden/);
    },
  );

  test('recording never waits, and a thousand events are as many as wait', options, async (t: TestContext) => {
    const warn = t.mock.fn();
    await using running = await recorder([pod('a')], { log: { ...silent, warn } });
    const { admin, proxy, events } = running;
    proxy.fault({ match: (method) => method === 'POST', hang: true });
    const { metadata } = await known(admin);
    for (const [index, event] of numbered(1_200).entries()) {
      events.record({ metadata: { ...metadata, uid: `${metadata.uid}-${index}` } }, event);
    }
    await events.close(0);
    assert.deepEqual(await written(admin), []);
    const told = warn.mock.calls.map(({ arguments: [facts, message] }) => [message, facts.waiting ?? facts.events]);
    assert.deepEqual(told, [
      ['events are dropped: too many wait', 1_000],
      ['event not written', undefined],
      ['events given up', 999],
    ]);
  });

  test('what is recorded after the end is forgotten', options, async () => {
    await using running = await recorder([pod('a')]);
    const { admin, events } = running;
    await events.close(5_000);
    events.record(await known(admin), added);
    await events.close(5_000);
    assert.deepEqual(await written(admin), []);
  });

  test(
    'a message that nobody would read to its end is cut, and a long name still makes a valid one',
    options,
    async () => {
      const name = `${'a'.repeat(229)}-${'b'.repeat(20)}`;
      await using running = await recorder([pod(name)]);
      const { admin, events } = running;
      events.record(await known(admin, name), { ...added, message: 'x'.repeat(5_000) });
      await events.close(5_000);
      const [event] = await written(admin);
      assert.equal(textAt(event, 'message').length, 1_024);
      assert.match(event?.metadata.name ?? '', /^a{229}\.[0-9a-f]{16}$/);
    },
  );
});
