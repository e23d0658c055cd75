import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { Plan } from '../../src/journal/entry.ts';
import { Journal } from '../../src/journal/journal.ts';

const plan: Plan = {
  version: 1,
  containerId: 'c1',
  ifName: 'eth0',
  netns: '/run/netns/plx-none',
  args: 'IgnoreUnknown=1',
  pod: { namespace: 'default', name: 'sampleapp-1', uid: 'u1' },
  attachments: [
    {
      network: 'default/a',
      ifName: 'net1',
      isDefault: false,
      config: '{ "cniVersion": "0.3.0", "unknown": 1.50 }',
      defaultName: 'a',
      source: 'NetworkAttachmentDefinition default/a',
      runtimeConfig: {},
      cniArgs: {},
    },
  ],
  plannedAt: 1,
};
const key = { containerId: 'c1', ifName: 'eth0' };

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'plx-journal-'));
});
afterEach(() => rm(directory, { recursive: true }));

test('a plan is read back as it was written, configurations to the byte', async () => {
  const journal = await Journal.open(directory);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  const entry = await (await Journal.open(directory)).read(key);
  assert.deepEqual(entry?.plan, plan);
  assert.equal(entry?.complete, false);
  assert.equal((await stat(join(directory, 'c1:eth0'))).mode & 0o777, 0o600);
});

test('steps add up, also after the process that wrote them is gone', async () => {
  const journal = await Journal.open(directory);
  {
    await using recording = await journal.begin(plan);
    await recording.add({ step: 'added', ifName: 'net1', result: { ips: [] } });
  }
  {
    await using recording = await journal.resume(key);
    await recording.add({ step: 'complete' });
    await recording.add({ step: 'deleted', ifName: 'net1' });
  }
  const entry = await journal.read(key);
  assert.deepEqual(entry?.results.get('net1'), { ips: [] });
  assert.ok(entry?.complete);
  assert.ok(entry?.deleted.has('net1'));
});

test('a step that was being written at the crash is passed over, and the next one is whole', async () => {
  const journal = await Journal.open(directory);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  await appendFile(join(directory, 'c1:eth0'), '{"step":"added","ifNa');
  assert.equal((await journal.read(key))?.results.size, 0);
  {
    await using recording = await journal.resume(key);
    await recording.add({ step: 'complete' });
  }
  assert.ok((await journal.read(key))?.complete);
});

test('a plan that was being written at the crash is no plan', async () => {
  await writeFile(join(directory, 'c1:eth0.unfinished:'), '{"version":1,');
  const journal = await Journal.open(directory);
  assert.equal(await journal.read(key), undefined);
  assert.deepEqual(await readdir(directory), []);
});

test('an entry that cannot be understood is an error that names the file, never "nothing to release"', async () => {
  const journal = await Journal.open(directory);
  await writeFile(join(directory, 'c1:eth0'), '{"version":2}\n');
  await assert.rejects(journal.read(key), { name: 'CorruptEntryError', message: /c1:eth0 cannot be read/ });
});

test('what was removed is unknown, and removing twice is no error', async () => {
  const journal = await Journal.open(directory);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  assert.deepEqual(await journal.list(), [key]);
  await journal.remove(key);
  await journal.remove(key);
  assert.equal(await journal.read(key), undefined);
  assert.deepEqual(await journal.list(), []);
});

test('no entry leaves the directory', async () => {
  const journal = await Journal.open(directory);
  for (const containerId of ['../c1', '', 'a:b']) {
    await assert.rejects(journal.begin({ ...plan, containerId }), /cannot be part of a journal entry's name/);
  }
  assert.deepEqual(await readdir(directory), []);
});

test('a journal that cannot be written says so and leaves nothing', async () => {
  const journal = await Journal.open(directory);
  await rm(directory, { recursive: true });
  await assert.rejects(journal.begin(plan), { code: 'ENOENT' });
  await Journal.open(directory);
  assert.deepEqual(await readdir(directory), []);
});
