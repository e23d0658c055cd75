import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ip } from '../plugins/support.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { crashingNode } from './daemon.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

/** More steps than any call has. */
const maxSteps = 200;

const nothing = { links: [], reserved: [], journal: [] };

test('a daemon killed at any step of an ADD: DEL leaves neither an interface nor an address', async (t) => {
  await using node = await crashingNode();
  let killed = 0;
  for (let step = 1; step < maxSteps; step++) {
    await using pod = await testNamespace();
    await node.start(step);
    const { status } = await node.call('ADD', pod.path);
    await node.stop();
    const isKilled = node.killed;
    if (isKilled) {
      killed++;
      assert.notEqual(status, 0, `step ${step}: an answer of success from a daemon that was killed`);
    }
    await node.start();
    const second = await node.call('DEL', pod.path);
    assert.deepEqual(second, { status: 0, stdout: '' }, `step ${step}`);
    assert.deepEqual(await node.held(pod.path), nothing, `step ${step}`);
    await node.stop();
    if (!isKilled) break;
  }
  t.diagnostic(`killed at ${killed} steps`);
  assert.ok(killed > 10 && killed < maxSteps - 1, `${killed} steps`);
});

test('a daemon killed at any step of a DEL: the runtime has its answer all the same, and the next daemon releases the rest', {
  timeout: 180_000,
}, async (t) => {
  await using node = await crashingNode();
  let killed = 0;
  for (let step = 1; step < maxSteps; step++) {
    await using pod = await testNamespace();
    await node.start();
    assert.equal((await node.call('ADD', pod.path)).status, 0);
    await node.stop();
    // It may be killed before it is ready: it looks at the pod's interfaces when it starts.
    await node.start(step).catch(() => {});
    assert.deepEqual(await node.call('DEL', pod.path), { status: 0, stdout: '' }, `step ${step}`);
    await node.stop();
    const isKilled = node.killed;
    if (isKilled) {
      killed++;
      await node.start();
      await node.spoolEmpty();
      await node.stop();
    }
    assert.deepEqual(await node.held(pod.path), nothing, `step ${step}`);
    if (!isKilled) break;
  }
  t.diagnostic(`killed at ${killed} steps`);
  assert.ok(killed > 5 && killed < maxSteps - 1, `${killed} steps`);
});

test('a daemon killed in the midst of an ADD releases, when it starts again, what nobody asks for any more', {
  timeout: 120_000,
}, async () => {
  await using node = await crashingNode();
  for (let step = 3; ; step += 4) {
    await using pod = await testNamespace();
    await node.start(step);
    await node.call('ADD', pod.path);
    if (!node.killed || (await node.isComplete())) break;
    await node.start();
    // What never becomes so fails the test by its time limit.
    while ((await node.held(pod.path)).journal.length > 0) await sleep(10);
    assert.deepEqual(await node.held(pod.path), nothing, `step ${step}`);
    await node.stop();
  }
});

test('a daemon killed at any step while it carries out what was left: the next one goes on', {
  timeout: 180_000,
}, async (t) => {
  await using node = await crashingNode();
  let killed = 0;
  for (let step = 1; step < maxSteps; step++) {
    await using pod = await testNamespace();
    await node.start();
    assert.equal((await node.call('ADD', pod.path)).status, 0);
    await node.stop();
    assert.deepEqual(await node.call('DEL', pod.path), { status: 0, stdout: '' });
    // It may be killed before it is ready.
    await node.start(step).catch(() => {});
    await Promise.race([node.spoolEmpty(), node.ended()]);
    await node.stop();
    const isKilled = node.killed;
    if (isKilled) {
      killed++;
      await node.start();
      await node.spoolEmpty();
      await node.stop();
    }
    assert.deepEqual(await node.held(pod.path), nothing, `step ${step}`);
    if (!isKilled) break;
  }
  t.diagnostic(`killed at ${killed} steps`);
  assert.ok(killed > 5 && killed < maxSteps - 1, `${killed} steps`);
});
