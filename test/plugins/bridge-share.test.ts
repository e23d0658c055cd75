import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Share, Shares } from '../../src/plugins/bridge/share.ts';

/** Something that is shared, and what happens to it. */
function thing() {
  const events: string[] = [];
  const use = async (share: Share): Promise<void> => {
    await share.inTurn(async () => {
      if (events.at(-1) === 'made') return;
      events.push('made');
      share.defer(async () => {
        await Promise.resolve();
        events.push('undone');
      });
    });
  };
  return { events, use };
}

test('what one call made for all is undone at its end, unless it was kept', async () => {
  for (const [keep, expected] of [
    [false, ['made', 'undone']],
    [true, ['made']],
  ] as const) {
    const { events, use } = thing();
    await using shares = new Shares();
    const share = shares.hold('thing');
    await use(share);
    if (keep) shares.keep();
    await shares[Symbol.asyncDispose]();
    assert.deepEqual(events, expected);
  }
});

test('it is undone once the last of several calls has ended, and none has kept it', async () => {
  const { events, use } = thing();
  const [first, second] = [new Share('thing'), new Share('thing')];
  await use(first);
  await use(second);
  await first[Symbol.asyncDispose]();
  assert.deepEqual(events, ['made']);
  await second[Symbol.asyncDispose]();
  assert.deepEqual(events, ['made', 'undone']);
});

test('it stays where any of several calls has kept it, whichever ends first', async () => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const { events, use } = thing();
    const shares = [new Share('thing'), new Share('thing')];
    for (const share of shares) await use(share);
    shares[1]?.keep();
    for (const index of order) await shares[index]?.[Symbol.asyncDispose]();
    assert.deepEqual(events, ['made']);
  }
});

test('whoever comes while it is being undone waits, and makes it anew', async () => {
  const { events, use } = thing();
  const first = new Share('thing');
  await use(first);
  const ending = first[Symbol.asyncDispose]();
  await Promise.resolve();
  const second = new Share('thing');
  await use(second);
  await ending;
  second.keep();
  await second[Symbol.asyncDispose]();
  assert.deepEqual(events, ['made', 'undone', 'made']);
});

test('things of other names are nothing to each other', async () => {
  const { events, use } = thing();
  const [first, other] = [new Share('thing'), new Share('other thing')];
  await use(first);
  other.keep();
  await other[Symbol.asyncDispose]();
  await first[Symbol.asyncDispose]();
  assert.deepEqual(events, ['made', 'undone']);
});

test('a failure to undo is told to the call that ends last, and holds up nobody after it', async () => {
  const failing = new Share('thing');
  await assert.rejects(
    failing.inTurn(() => Promise.reject(new Error('in turn'))),
    /in turn/,
  );
  failing.defer(() => Promise.reject(new Error('cannot be undone')));
  await assert.rejects(failing[Symbol.asyncDispose](), /cannot be undone/);
  const { events, use } = thing();
  const next = new Share('thing');
  await use(next);
  await next[Symbol.asyncDispose]();
  assert.deepEqual(events, ['made', 'undone']);
});

test('what is to be done at the end is done once, after the last of several calls, whether it was kept or not', async () => {
  for (const keep of [true, false]) {
    const { events, use } = thing();
    const shares = [new Share('thing'), new Share('thing')];
    for (const share of shares) {
      await use(share);
      share.atEnd(async () => {
        await Promise.resolve();
        events.push('looked');
      });
    }
    if (keep) shares[0]?.keep();
    await shares[0]?.[Symbol.asyncDispose]();
    assert.deepEqual(events, ['made']);
    await shares[1]?.[Symbol.asyncDispose]();
    assert.deepEqual(events, keep ? ['made', 'looked'] : ['made', 'undone', 'looked']);
  }
});

test('what is to be done at the end is done where something cannot be undone, too', async () => {
  const share = new Share('thing');
  let done = false;
  share.defer(() => Promise.reject(new Error('cannot be undone')));
  share.atEnd(async () => {
    done = await Promise.resolve(true);
  });
  await assert.rejects(share[Symbol.asyncDispose](), /cannot be undone/);
  assert.equal(done, true);
});
