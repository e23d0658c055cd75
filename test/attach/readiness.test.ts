import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { requireReady, untilReady } from '../../src/attach/readiness.ts';
import { parseSettings } from '../../src/attach/settings.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'plx-ready-'));
});
after(() => rm(directory, { recursive: true }));

const settings = (readinessindicatorfile?: string) =>
  parseSettings(
    { clusterNetwork: 'main', ...(readinessindicatorfile !== undefined && { readinessindicatorfile }) },
    'the test',
  );

const never = { step: 1, limit: 0 };

describe('readinessindicatorfile', () => {
  test('that is not set, or empty, is not waited for', async () => {
    for (const each of [settings(), settings('')]) {
      await untilReady(each, never);
      await requireReady(each);
    }
  });

  test('that is there is not waited for, nor complained about', async () => {
    const file = join(directory, 'there');
    await writeFile(file, '');
    await untilReady(settings(file), never);
    await requireReady(settings(file));
  });

  test('that comes late ends the waiting', async () => {
    const file = join(directory, 'late');
    let ended = false;
    const waiting = untilReady(settings(file), { step: 1, limit: 60_000 }).then(() => {
      ended = true;
    });
    await assert.rejects(requireReady(settings(file)), { code: 50 });
    assert.equal(ended, false);
    await writeFile(file, '');
    await waiting;
  });

  test('that never comes is an error: the runtime is to try again', async () => {
    const file = join(directory, 'never');
    await assert.rejects(untilReady(settings(file), { step: 1, limit: 10 }), {
      code: 11,
      message: `the default network is not ready: readinessindicatorfile ${file} was not there within 0.01 s`,
    });
  });

  test('that is missing is told by STATUS', async () => {
    const file = join(directory, 'missing');
    await assert.rejects(requireReady(settings(file)), {
      code: 50,
      message: `the default network is not ready: readinessindicatorfile ${file} is not there`,
    });
  });
});
