import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as settle } from 'node:timers/promises';
import fc from 'fast-check';
import { KeyedQueue } from '../../src/daemon/queue.ts';

/** Tasks that end when they are told to, and what happened, in order. */
function recorder() {
  const steps: string[] = [];
  const ends = new Map<string, () => void>();
  return {
    steps,
    task: (name: string) => async (): Promise<string> => {
      steps.push(`${name} begins`);
      const { promise, resolve } = Promise.withResolvers<void>();
      ends.set(name, resolve);
      await promise;
      steps.push(`${name} ends`);
      return name;
    },
    end(name: string): void {
      const end = ends.get(name);
      assert.ok(end !== undefined, `${name} has not begun`);
      end();
    },
  };
}

test('tasks of one key follow one another in the order they came, those of others run beside them', async () => {
  const queue = new KeyedQueue();
  const { steps, task, end } = recorder();
  const first = queue.run('a', task('a1'));
  const second = queue.run('a', task('a2'));
  const other = queue.run('b', task('b1'));
  await settle();
  assert.deepEqual(steps, ['a1 begins', 'b1 begins']);
  end('a1');
  assert.equal(await first, 'a1');
  await settle();
  assert.deepEqual(steps, ['a1 begins', 'b1 begins', 'a1 ends', 'a2 begins']);
  end('a2');
  end('b1');
  assert.deepEqual(await Promise.all([second, other]), ['a2', 'b1']);
});

test('a task that fails is its own business', async () => {
  const queue = new KeyedQueue();
  const failed = queue.run('a', async () => {
    throw new Error('no');
  });
  const next = queue.run('a', async () => 'yes');
  await assert.rejects(failed, { message: 'no' });
  assert.equal(await next, 'yes');
  await assert.rejects(
    queue.alone(async () => {
      throw new Error('no');
    }),
  );
  assert.equal(await queue.run('a', async () => 'yes'), 'yes');
});

test('a task that is alone waits for all before it, and all after it wait', async () => {
  const queue = new KeyedQueue();
  const { steps, task, end } = recorder();
  void queue.run('a', task('a1'));
  void queue.alone(task('alone'));
  void queue.run('b', task('b1'));
  void queue.alone(task('alone again'));
  await settle();
  assert.deepEqual(steps, ['a1 begins']);
  end('a1');
  await settle();
  end('alone');
  await settle();
  assert.deepEqual(steps.slice(1), ['a1 ends', 'alone begins', 'alone ends', 'b1 begins']);
  end('b1');
  await settle();
  end('alone again');
  await queue.idle();
  assert.deepEqual(steps.slice(5), ['b1 ends', 'alone again begins', 'alone again ends']);
});

test('what a task waits for first keeps its key waiting, but neither others nor a task that is alone', async () => {
  const queue = new KeyedQueue();
  const { steps, task, end } = recorder();
  const first = Promise.withResolvers<void>();
  const waiting = queue.run('a', task('a1'), () => first.promise);
  void queue.run('a', task('a2'));
  void queue.run('b', task('b1'));
  void queue.alone(task('alone'));
  await settle();
  assert.deepEqual(steps, ['b1 begins']);
  end('b1');
  await settle();
  assert.deepEqual(steps, ['b1 begins', 'b1 ends', 'alone begins']);
  first.resolve();
  await settle();
  assert.equal(steps.length, 3, 'it began beside a task that is to be alone');
  end('alone');
  await settle();
  assert.deepEqual(steps.slice(3), ['alone ends', 'a1 begins']);
  end('a1');
  await waiting;
  await settle();
  end('a2');
  await queue.idle();
  assert.deepEqual(steps.slice(5), ['a1 ends', 'a2 begins', 'a2 ends']);
});

test('a task whose wait fails does not run, and fails as the wait did', async () => {
  const queue = new KeyedQueue();
  const { steps, task } = recorder();
  const refused = queue.run('a', task('a1'), () => Promise.reject(new Error('never')));
  await assert.rejects(refused, { message: 'never' });
  assert.equal(await queue.run('a', async () => 'next'), 'next');
  assert.deepEqual(steps, []);
});

test('no order of tasks breaks the rules', async () => {
  const wanted = fc.array(fc.constantFrom('a', 'b', 'c', 'a later', 'b later', 'alone'), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(wanted, fc.array(fc.nat({ max: 3 }), { minLength: 20, maxLength: 20 }), async (names, lengths) => {
      const keys = names.map((name) => name.replace(' later', ''));
      const queue = new KeyedQueue();
      const running = new Set<string>();
      const finished: number[] = [];
      const results = keys.map((key, index) => {
        const task = async (): Promise<void> => {
          assert.ok(key === 'alone' ? running.size === 0 : !running.has('alone') && !running.has(key));
          running.add(key);
          for (let ticks = lengths[index] ?? 0; ticks > 0; ticks--) await settle();
          running.delete(key);
          finished.push(index);
        };
        if (key === 'alone') return queue.alone(task);
        return names[index] === key ? queue.run(key, task) : queue.run(key, task, () => settle());
      });
      await Promise.all(results);
      for (const key of ['a', 'b', 'c', 'alone']) {
        const ofKey = finished.filter((index) => keys[index] === key);
        assert.deepEqual(
          ofKey,
          ofKey.toSorted((x, y) => x - y),
        );
      }
      assert.equal(finished.length, keys.length);
    }),
    { numRuns: 100 },
  );
});
