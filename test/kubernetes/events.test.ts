import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Events, type EventsOptions, type PodEvent } from '../../src/kubernetes/events.ts';
import { type Pod, podSchema } from '../../src/kubernetes/schemas.ts';
import { at, textAt } from '../../src/playground/api/object.ts';
import { pods, events as resource } from '../../src/playground/api/resources.ts';
import type { Api, ApiOptions } from '../../src/playground/api/server.ts';
import { pod } from '../playground-api/manifests.ts';
import { apiWithClient, silent, until } from './playground.ts';

const options = { timeout: 20_000 };

const added: PodEvent = { type: 'Normal', reason: 'AddedInterface', message: 'Add eth0 [10.0.0.2/24] from aws-cni' };

async function recorder(apiOptions: ApiOptions, more: Partial<EventsOptions> = {}) {
  const given = await apiWithClient(apiOptions);
  const { api, client } = given;
  const events = new Events({ client, log: silent, component: 'multus', nodeName: 'node-1', ...more });
  return {
    api,
    events,
    /** The messages that the server has, in the order of their names. */
    messages: () => written(api).map((event) => textAt(event, 'message')),
    async [Symbol.asyncDispose]() {
      await events.close(0);
      await given[Symbol.asyncDispose]();
    },
  };
}

const written = (api: Api) => api.store.list(resource);

function known(api: Api, name = 'a'): Pod {
  return podSchema.parse(api.store.get(pods, 'default', name));
}

const numbered = (count: number): PodEvent[] =>
  Array.from({ length: count }, (_, index) => ({ ...added, message: `message ${index}` }));

test('an event says what, of whom, from whom and when', options, async () => {
  await using running = await recorder({ objects: [pod('a')] });
  const { api, events } = running;
  const about = known(api);
  const before = new Date().toISOString().slice(0, 19);
  events.record(about, added);
  await events.close(5_000);
  const [event, ...others] = written(api);
  assert.ok(event);
  assert.deepEqual(others, []);
  const { metadata, firstTimestamp, lastTimestamp, ...rest } = event;
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
  await using running = await recorder({
    objects: [pod('a', { annotations: { 'kubernetes.io/config.mirror': 'f00d' } })],
  });
  running.events.record(known(running.api), added);
  await running.events.close(5_000);
  assert.equal(textAt(written(running.api)[0], 'involvedObject.uid'), 'f00d');
});

test('events are written in the order they happened, and are listed in it', options, async () => {
  await using running = await recorder({ objects: [pod('a')] });
  const { api, events, messages } = running;
  const many = numbered(30);
  for (const event of many) events.record(known(api), event);
  await events.close(5_000);
  assert.deepEqual(
    messages(),
    many.map(({ message }) => message),
  );
});

test('an event that happens again is counted; of another pod, it is another', options, async () => {
  await using running = await recorder({ objects: [pod('a'), pod('b')] });
  const { api, events } = running;
  events.record(known(api), added);
  await until(() => written(api).length === 1);
  events.record(known(api), added);
  events.record(known(api, 'b'), added);
  await until(() => written(api).length === 2);
  events.record(known(api), added);
  await events.close(5_000);
  const counts = written(api).map((event) => [textAt(event, 'involvedObject.name'), at(event, 'count')]);
  assert.deepEqual(counts, [
    ['a', 3],
    ['b', 1],
  ]);
});

test('an event that happens again while it waits is sent once, with its count', options, async () => {
  await using running = await recorder({ objects: [pod('a')] });
  const { api, events } = running;
  let sent = 0;
  const match = (method: string): boolean => {
    if (method !== 'GET') sent++;
    return false;
  };
  api.fault({ match });
  events.record(known(api), { ...added, message: 'first' });
  for (let times = 0; times < 100; times++) events.record(known(api), added);
  await events.close(5_000);
  assert.equal(sent, 2);
  assert.deepEqual(
    written(api).map((event) => at(event, 'count')),
    [1, 100],
  );
});

test('an event that the server has dropped meanwhile is written anew, with its count', options, async () => {
  await using running = await recorder({ objects: [pod('a')] });
  const { api, events } = running;
  events.record(known(api), added);
  await until(() => written(api).length === 1);
  const [first] = written(api);
  assert.ok(first);
  api.store.delete(resource, 'default', first.metadata.name);
  events.record(known(api), added);
  await events.close(5_000);
  assert.deepEqual(
    written(api).map((event) => at(event, 'count')),
    [2],
  );
});

test('events wait for a server that is away, and none is written twice where an answer was lost', options, async () => {
  await using running = await recorder({ objects: [pod('a')] });
  const { api, events, messages } = running;
  api.fault({ match: (method) => method === 'POST', times: 2, fail: 'ServiceUnavailable' });
  // Written, though its writer never hears of it and asks again.
  const lost = (method: string, url: string): boolean => method === 'POST' && url.endsWith('/events');
  api.fault({
    match: lost,
    fail: 'AlreadyExists',
    met: () => void api.store.create({ ...eventObject(), message: 'message 0' }),
  });
  for (const event of numbered(2)) events.record(known(api), event);
  await events.close(10_000);
  assert.deepEqual(messages(), ['message 0', 'message 1']);
});

test(
  'an event that is refused is dropped with its reason, and the next one is written',
  options,
  async (t: TestContext) => {
    const warn = t.mock.fn();
    await using running = await recorder({ objects: [pod('a')] }, { log: { ...silent, warn } });
    const { api, events, messages } = running;
    api.fault({ match: (method) => method === 'POST', fail: 'Forbidden' });
    for (const event of numbered(2)) events.record(known(api), event);
    await events.close(5_000);
    assert.deepEqual(messages(), ['message 1']);
    const [problem] = warn.mock.calls[0]?.arguments ?? [];
    assert.equal(problem.event, 'message 0');
    assert.match(problem.error, /403 Forbidden/);
  },
);

test('recording never waits, and a thousand events are as many as wait', options, async (t: TestContext) => {
  const warn = t.mock.fn();
  await using running = await recorder({ objects: [pod('a')] }, { log: { ...silent, warn } });
  const { api, events } = running;
  api.fault({ match: (method) => method === 'POST', hang: true });
  const about = known(api);
  for (const event of numbered(1_200)) events.record(about, event);
  await events.close(0);
  assert.deepEqual(written(api), []);
  const told = warn.mock.calls.map(({ arguments: [facts, message] }) => [message, facts.waiting ?? facts.events]);
  assert.deepEqual(told, [
    ['events are dropped: too many wait', 1_000],
    ['event not written', undefined],
    ['events given up', 1_000],
  ]);
});

test('what is recorded after the end is forgotten', options, async () => {
  await using running = await recorder({ objects: [pod('a')] });
  const { api, events } = running;
  await events.close(5_000);
  events.record(known(api), added);
  await events.close(5_000);
  assert.deepEqual(written(api), []);
});

test(
  'a message that nobody would read to its end is cut, and a long name still makes a valid one',
  options,
  async () => {
    const name = `${'a'.repeat(229)}-${'b'.repeat(20)}`;
    await using running = await recorder({ objects: [pod(name)] });
    const { api, events } = running;
    events.record(known(api, name), { ...added, message: 'x'.repeat(5_000) });
    await events.close(5_000);
    const [event] = written(api);
    assert.equal(textAt(event, 'message').length, 1_024);
    assert.match(event?.metadata.name ?? '', /^a{229}\.[0-9a-f]{16}$/);
  },
);

function eventObject() {
  return { apiVersion: 'v1', kind: 'Event', metadata: { name: 'a.0', namespace: 'default' } };
}
