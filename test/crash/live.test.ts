import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ip } from '../plugins/support.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type CrashingNode, crashingNode } from './daemon.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

/** More steps than any change has. */
const maxSteps = 200;

const nothing = { links: [], reserved: [], journal: [] };

/** Waits until the pod tells of net-b, or the daemon was killed. What becomes of neither fails the test by its time limit. */
async function changed(node: CrashingNode): Promise<void> {
  while (!node.killed && !isDeepStrictEqual(node.status(), ['cluster-net', 'default/net-b'])) await sleep(10);
}

/** What a pod holds that has given up net-a for net-b. */
function isSwapped({ links, reserved, journal }: Awaited<ReturnType<CrashingNode['held']>>): boolean {
  const networks = reserved.map((file) => file.split('/')[0]);
  return isDeepStrictEqual([links, networks, journal.length], [['eth0', 'net1'], ['cluster-net', 'net-b'], 1]);
}

interface Case {
  readonly what: string;
  /** How many steps lie between two that are tried. */
  readonly stride: number;
  readonly isEnded: boolean;
}

const cases: readonly Case[] = [
  { what: 'its next start ends what was begun', stride: 1, isEnded: true },
  { what: 'DEL leaves neither an interface nor an address', stride: 3, isEnded: false },
];

for (const { what, stride, isEnded } of cases) {
  test(`a daemon killed at any step of a change of a running pod's networks: ${what}`, {
    timeout: 900_000,
  }, async (t) => {
    await using node = await crashingNode();
    let killed = 0;
    await node.start();
    for (let step = 1; step < maxSteps; step += stride) {
      await using pod = await testNamespace();
      node.annotate('net-a');
      assert.equal((await node.call('ADD', pod.path)).status, 0);
      await node.stop();
      node.annotate('net-b');
      await node.start(step).catch(() => undefined);
      await changed(node);
      const isKilled = node.killed;
      await node.stop();
      if (isKilled) killed++;
      await node.start();
      if (isEnded) {
        await changed(node);
        const held = await node.held(pod.path);
        assert.ok(isSwapped(held), `step ${step}: ${JSON.stringify(held)}`);
      }
      assert.deepEqual(await node.call('DEL', pod.path), { status: 0, stdout: '' }, `step ${step}`);
      assert.deepEqual(await node.held(pod.path), nothing, `step ${step}`);
      if (!isKilled) break;
    }
    t.diagnostic(`killed at ${killed} steps`);
    assert.ok(killed > 5 && killed < maxSteps - 1, `${killed} steps`);
  });
}
