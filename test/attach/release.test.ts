import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { releaseEntry } from '../../src/attach/release.ts';
import type { PluginRunner } from '../../src/cni/plugin.ts';
import type { Plan } from '../../src/journal/entry.ts';
import { Journal } from '../../src/journal/journal.ts';
import { smallDisk } from '../support/small-disk.ts';

const plan: Plan = {
  version: 1,
  containerId: 'c1',
  ifName: 'eth0',
  netns: '',
  args: '',
  attachments: ['eth0', 'net1'].map((ifName) => ({
    network: `default/${ifName}`,
    ifName,
    isDefault: ifName === 'eth0',
    config: '{ "cniVersion": "1.0.0", "type": "any" }',
    defaultName: ifName,
    source: 'a test',
    runtimeConfig: {},
    cniArgs: {},
  })),
  plannedAt: 1,
};

test('a full disk does not keep a node from releasing pods, which is what empties it', async () => {
  await using disk = await smallDisk();
  const journal = await Journal.open(disk.path);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  await assert.rejects(writeFile(join(disk.path, 'filler'), Buffer.alloc(1 << 20)), { code: 'ENOSPC' });
  // What is left of the entry's own page is filled as well, up to less than any step takes.
  await using recording = await journal.resume(plan);
  for (let full = false; !full; )
    full = await recording.add({ step: 'complete' }).then(
      () => false,
      () => true,
    );
  const released: string[] = [];
  const unused = async (): Promise<never> => assert.fail();
  const runner: PluginRunner = {
    add: unused,
    check: unused,
    status: unused,
    gc: unused,
    async delete(_config, { ifName }) {
      released.push(ifName);
    },
  };
  const entry = (await journal.read(plan)) ?? assert.fail();
  const reported: string[] = [];
  await releaseEntry(plan, entry, '', {
    journal,
    runner,
    path: [],
    report: ({ planned, error }) => reported.push(`${planned.ifName} ${error?.message ?? 'released'}`),
  });
  assert.deepEqual(released, ['net1', 'eth0']);
  assert.deepEqual(reported, ['net1 released', 'eth0 released']);
  assert.equal(await journal.read(plan), undefined);
});
