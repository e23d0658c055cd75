import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { linesOf } from '../../src/kubernetes/lines.ts';

const read = (chunks: Iterable<Buffer>) => Array.fromAsync(linesOf(Readable.from(chunks), 10_000, () => {}));

test('lines are the same however the stream was cut, also within a character', async () => {
  const cuts = fc.tuple(fc.array(fc.stringMatching(/^[a-zä€😀 ]{1,9}[a-z]$/u)), fc.array(fc.nat(200)));
  await fc.assert(
    fc.asyncProperty(cuts, async ([lines, at]) => {
      const whole = Buffer.from(lines.map((line) => `${line}\n`).join(''));
      const edges = [0, ...at.map((edge) => Math.min(edge, whole.length)).sort((a, b) => a - b), whole.length];
      const chunks = edges.slice(1).map((edge, index) => whole.subarray(edges[index], edge));
      assert.deepEqual(await read(chunks.filter((chunk) => chunk.length > 0)), lines);
    }),
    { numRuns: 100 },
  );
});

test('empty lines are left out, and so is a last line that was cut off', async () => {
  assert.deepEqual(await read([Buffer.from('a\n\n \nb\nc')]), ['a', 'b']);
});

test('a line that does not end is refused before it fills the memory', async () => {
  const endless = function* () {
    for (;;) yield Buffer.alloc(4 * 1024 * 1024, 'x');
  };
  await assert.rejects(read(endless()), /a line is longer than 16777216 bytes/);
});
