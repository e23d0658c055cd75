import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { until } from '../kubernetes/playground.ts';
import { ip } from '../plugins/support.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type CrashingNode, crashingNode } from './daemon.ts';

/* Pods that start with their default network only, while there is no daemon: what the shim makes, the daemon adopts. */

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const timeout = 300_000;

const maxSteps = 200;
const nothing = { links: [], reserved: [], journal: [] };

/** The node's ends of pods' interfaces. */
const nodeLinks = async (): Promise<unknown[]> =>
  (await ip(undefined, 'link')).map(({ ifname }) => ifname).filter((name) => String(name).startsWith('eni'));

/** A node whose daemon has been there, and is not any more. */
async function leftNode(): Promise<CrashingNode> {
  const node = await crashingNode({ alone: true });
  await node.start();
  await node.stop();
  return node;
}

async function assertNothing(node: CrashingNode, netns: string, about: string): Promise<void> {
  assert.deepEqual(await node.held(netns), nothing, about);
  assert.deepEqual(await nodeLinks(), [], about);
}

test('a pod that started without a daemon is adopted: it gets what else it asks for, is told so, and its DEL releases all', {
  timeout,
}, async () => {
  await using node = await leftNode();
  await using pod = await testNamespace();
  const added = await node.call('ADD', pod.path);
  assert.equal(added.status, 0, added.stdout);
  const { cniVersion, ips } = JSON.parse(added.stdout);
  assert.deepEqual(
    [cniVersion, ips.map(({ address }: { address: string }) => address)],
    ['0.4.0', ['10.20.139.27/32']],
  );
  assert.deepEqual((await node.held(pod.path)).links, ['eth0']);

  await node.start();
  await until(async () => (await node.held(pod.path)).links.length === 2);
  assert.deepEqual((await node.held(pod.path)).links, ['eth0', 'net1']);
  await until(() => node.status().length === 2);
  assert.deepEqual(node.status(), ['aws-cni', 'default/net-a']);
  const only = 'DefaultNetworkOnly: started while Plexus was down, with the default network only; default/net-a waits';
  await until(() => node.events().includes(only));
  assert.ok(
    node.events().includes('AddedInterface: Add eth0 [10.20.139.27/32] from aws-cni'),
    node.events().join('\n'),
  );

  assert.deepEqual(await node.call('DEL', pod.path), { status: 0, stdout: '' });
  await assertNothing(node, pod.path, 'after its DEL');
});

test('a pod that comes and goes without a daemon leaves nothing when that is back', { timeout }, async () => {
  await using node = await leftNode();
  await using pod = await testNamespace();
  assert.equal((await node.call('ADD', pod.path)).status, 0);
  assert.deepEqual(await node.call('DEL', pod.path), { status: 0, stdout: '' });
  // Its name is taken until then.
  assert.match((await node.call('ADD', pod.path)).stdout, /an earlier request for this sandbox waits for the daemon/);
  await node.start();
  await node.spoolEmpty();
  await assertNothing(node, pod.path, 'after the daemon came');
});

test('a shim killed at any step of an ADD without a daemon: what it made is released when the daemon is back', {
  timeout,
}, async (t) => {
  await using node = await leftNode();
  for (let step = 1; ; step++) {
    await using pod = await testNamespace();
    const { status } = await node.call('ADD', pod.path, step);
    // Every second time, the runtime does not even get to its DEL.
    if (step % 2 === 0 || status !== null) assert.equal((await node.call('DEL', pod.path)).status, 0, `step ${step}`);
    const isAnswered = step % 2 === 1 && status === null;
    await node.start();
    await node.spoolEmpty();
    // Of a result that is on disk only the runtime can tell that it never got it.
    if (isAnswered && (await node.isComplete())) await node.call('DEL', pod.path);
    await until(async () => (await node.held(pod.path)).journal.length === 0);
    await assertNothing(node, pod.path, `step ${step}`);
    await node.stop();
    if (status !== null) {
      t.diagnostic(`killed at ${step - 1} steps`);
      assert.equal(status, 0);
      assert.ok(step > 5 && step < maxSteps, `${step} steps`);
      break;
    }
  }
});

test('a daemon killed at any step while it adopts a pod: the next one has it', { timeout }, async (t) => {
  await using node = await leftNode();
  for (let step = 1; step < maxSteps; step++) {
    await using pod = await testNamespace();
    assert.equal((await node.call('ADD', pod.path)).status, 0);
    // It is killed before it is ready.
    const started = await node.start(step).then(
      () => true,
      () => false,
    );
    if (!started) {
      await node.ended();
      await node.start();
    }
    await node.spoolEmpty();
    assert.ok((await node.held(pod.path)).links.includes('eth0'), `step ${step}`);
    assert.ok(await node.isComplete(), `step ${step}`);
    // One that was not killed before it was ready may be later.
    if (started) {
      await node.stop();
      await node.start();
    }
    assert.equal((await node.call('DEL', pod.path)).status, 0, `step ${step}`);
    await assertNothing(node, pod.path, `step ${step}`);
    await node.stop();
    if (started) {
      t.diagnostic(`killed at ${step - 1} steps`);
      assert.ok(step > 5, `${step} steps`);
      break;
    }
  }
});
