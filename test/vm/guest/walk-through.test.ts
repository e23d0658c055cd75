import assert from 'node:assert/strict';
import { test } from 'node:test';
import { walkThrough } from '../../../tools/demo/walk-through.ts';
import { buildShim } from '../../support/shim.ts';

test('all that the walk-through promises is so', async () => {
  await buildShim();
  assert.equal(await walkThrough(), true);
});
