import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as settle } from 'node:timers/promises';
import { Gate } from '../../src/daemon/gate.ts';

test('so many tasks run at a time, the others in the order they came, whether those before them fail or not', async () => {
  const gate = new Gate(2);
  const begun: number[] = [];
  const ends = [0, 1, 2, 3, 4].map(() => Promise.withResolvers<number>());
  const results = ends.map(({ promise }, index) =>
    gate.run(() => {
      begun.push(index);
      return promise;
    }),
  );
  const outcomes = Promise.allSettled(results);
  await settle();
  assert.deepEqual(begun, [0, 1]);
  ends[1]?.reject(new Error('failed'));
  await settle();
  assert.deepEqual(begun, [0, 1, 2]);
  ends[0]?.resolve(0);
  ends[2]?.resolve(2);
  await settle();
  assert.deepEqual(begun, [0, 1, 2, 3, 4]);
  ends[3]?.resolve(3);
  ends[4]?.resolve(4);
  assert.deepEqual(
    (await outcomes).map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'],
  );
});

test('after all have ended as many run as before', async () => {
  const gate = new Gate(1);
  assert.equal(await gate.run(async () => 'one'), 'one');
  await assert.rejects(
    gate.run(() => Promise.reject(new Error('two'))),
    { message: 'two' },
  );
  assert.equal(await gate.run(async () => 'three'), 'three');
});
