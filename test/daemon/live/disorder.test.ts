import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { CniError } from '../../../src/cni/error.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import { ip } from '../../plugins/support.ts';
import { addWire, becomeNode } from '../../support/node.ts';
import { eventually, type LiveNode, macvlan, type Sandbox, startLiveNode } from './node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const definitions = (ipam: JsonObject): Readonly<Record<string, JsonObject>> => {
  const { ipam: own, ...config } = macvlan(ipam, '10.3.0.0/24');
  return {
    'net-a': macvlan(ipam, '10.1.0.0/24', { capabilities: { mac: true } }),
    'net-b': macvlan(ipam, '10.2.0.0/24'),
    'net-f': { cniVersion: '1.0.0', name: 'net-f', plugins: [{ ...config, ipam: own }, { type: 'faulty' }] },
  };
};

/** One thing that happens to the pod, the API server, the plugins or the daemon. */
type Happening = (node: LiveNode, sandbox: Sandbox) => unknown;

const element = fc.constantFrom('net-a', 'net-b', 'net-f', 'net-b@x', 'net-a@y', 'net-f@x');
const wishes = fc.uniqueArray(element, {
  maxLength: 4,
  // Two elements of one interface's name cannot be followed.
  selector: (each) => each.split('@')[1] ?? {},
});

const annotate = wishes.map(
  (all): Happening =>
    (node) =>
      node.annotate(all.join(',')),
);

const remove = fc.constant<Happening>((node) => node.annotate(undefined));

const pause = fc.nat(30).map(
  (milliseconds): Happening =>
    () =>
      sleep(milliseconds),
);

const disturbance = fc.constantFrom<Happening>(
  ({ api }) => api.cutWatches(),
  ({ api }) => api.expireWatches(),
  ({ api }) => api.fault({ match: (method) => method === 'PATCH', fail: 'InternalError', times: 2 }),
  ({ api }) => api.fault({ match: (method) => method === 'PATCH', fail: 'Conflict', times: 2 }),
  ({ api }) => api.fault({ match: (method) => method === 'PATCH', reset: true, times: 2 }),
  ({ faults }) => Object.assign(faults, { add: new CniError(111, 'no more circuits') }),
  ({ faults }) => Object.assign(faults, { delete: new CniError(111, 'the circuit hangs') }),
  ({ faults }) => Object.assign(faults, { add: undefined, delete: undefined }),
  (node) => node.passTime(),
  (node, sandbox) => node.call('CHECK', sandbox),
);

const restart = fc.array(annotate, { maxLength: 2 }).map(
  (meanwhile): Happening =>
    async (node, sandbox) => {
      await node.stop();
      for (const happen of meanwhile) await happen(node, sandbox);
      await node.start();
    },
);

const happenings = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: annotate },
    { weight: 1, arbitrary: remove },
    { weight: 4, arbitrary: pause },
    { weight: 4, arbitrary: disturbance },
    { weight: 1, arbitrary: restart },
  ),
  { minLength: 5, maxLength: 25, size: 'max' },
);

const runs = 12;

test('whatever happens in whatever order, the pod ends up with what it asks for, and its DEL leaves nothing', {
  timeout: 240_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(happenings, wishes, async (all, last) => {
      await using node = await startLiveNode({ definitions });
      const sandbox = await node.addPod('net-a');
      for (const happen of all) await happen(node, sandbox);
      Object.assign(node.faults, { add: undefined, delete: undefined });
      node.api.clearFaults();
      // No annotation before it ends with a space: what is settled by it is settled by nothing else.
      const wanted = `${last.join(',')} `;
      node.annotate(wanted);
      const ticking = setInterval(() => node.passTime(), 20);
      const networks = () => node.status().map(({ name }) => name.replace('default/', ''));
      try {
        await eventually(async () => (await node.entry(sandbox))?.settled, wanted);
        await eventually(() => networks().sort(), ['cluster-net', ...last.map((each) => each.split('@')[0])].sort());
        await eventually(
          () =>
            node
              .status()
              .map((each) => each.interface)
              .sort(),
          (await node.links(sandbox)).sort(),
        );
      } finally {
        clearInterval(ticking);
      }
      const named = last.flatMap((each) => each.split('@')[1] ?? []);
      const links = await node.links(sandbox);
      assert.equal(links.length, last.length + 1);
      assert.deepEqual(links.filter((link) => named.includes(link)).sort(), named.sort());
      const { reserved, journal } = await node.held();
      assert.deepEqual(reserved.map((file) => file.split('/')[0]).sort(), networks().sort());
      assert.equal(journal.length, 1);
      assert.equal((await node.call('CHECK', sandbox)).stdout, '');
      node.deletePod();
      assert.deepEqual(await node.call('DEL', sandbox), { exitStatus: 0, stdout: '' });
      assert.deepEqual(await node.links(sandbox), []);
      assert.deepEqual(await node.held(), { reserved: [], journal: [] });
    }),
    // A failure takes as long as `eventually` is patient: too long to look for a shorter one.
    { numRuns: runs, endOnFailure: true },
  );
});
