import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Sandboxes } from '../../src/cli/sandboxes.ts';
import { settledStatus } from '../../src/cli/status/settled.ts';
import type { Entry } from '../../src/journal/entry.ts';
import { entryOf } from '../journal/entries.ts';

const entry = (containerId: string, complete = true): Entry => entryOf({ containerId }, {}, complete);

/** What is told when the journal says one thing first, and another a moment later. */
async function told(first: readonly Entry[], later: readonly Entry[]): Promise<string[]> {
  let journal: Sandboxes = { entries: first, unreadable: [] };
  const { attachments } = await settledStatus(
    () => Promise.resolve(journal),
    async () => {
      journal = { entries: later, unreadable: [] };
    },
  );
  return attachments.map((each) => `${each.entry.plan.containerId}: ${each.differences.join('; ')}`);
}

const gone = 'its namespace /run/netns/plx-none is gone';

test('what a DEL was just releasing is not told as missing', async () => {
  assert.deepEqual(await told([entry('a'), entry('b')], [entry('b')]), [`b: ${gone}`]);
});

test('what differs is told as it is a moment later', async () => {
  const unfinished = 'its ADD has not ended: it is under way, or the daemon was killed in its midst';
  assert.deepEqual(await told([entry('a', false)], [entry('a')]), [`a: ${gone}`]);
  assert.deepEqual(await told([entry('a', false)], [entry('a', false)]), [`a: ${unfinished}; ${gone}`]);
});

test('what was attached in that moment is left for the next time', async () => {
  assert.deepEqual(await told([entry('a')], [entry('a'), entry('c')]), [`a: ${gone}`]);
});
