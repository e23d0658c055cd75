import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { appendFile, copyFile, link, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { decodeEntry, encodeLine, type Plan, type Step } from '../../src/journal/entry.ts';
import { CorruptEntryError, Journal } from '../../src/journal/journal.ts';
import { smallDisk } from '../support/small-disk.ts';

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

test('an entry is begun once: what the first plan holds is not forgotten for a second one', async () => {
  const journal = await Journal.open(directory);
  {
    await using recording = await journal.begin(plan);
    await recording.add({ step: 'added', ifName: 'net1', result: { kept: true } });
    await assert.rejects(journal.begin({ ...plan, plannedAt: 2 }), { code: 'EEXIST' });
    await recording.add({ step: 'complete' });
  }
  const entry = await journal.read(key);
  assert.deepEqual([entry?.plan.plannedAt, entry?.results.get('net1'), entry?.complete], [1, { kept: true }, true]);
  assert.deepEqual(await readdir(directory), ['c1:eth0']);
  await journal.remove(key);
  await (await journal.begin({ ...plan, plannedAt: 2 }))[Symbol.asyncDispose]();
  assert.equal((await journal.read(key))?.plan.plannedAt, 2);
});

test('of many that begin one entry at once, one does, and its plan is whole', async () => {
  const journal = await Journal.open(directory);
  const attempts = Array.from({ length: 20 }, (_, plannedAt) => journal.begin({ ...plan, plannedAt }));
  const begun = (await Promise.allSettled(attempts)).flatMap((each, i) =>
    each.status === 'fulfilled' ? [[i, each.value] as const] : [],
  );
  assert.equal(begun.length, 1);
  for (const [plannedAt, recording] of begun) {
    await recording[Symbol.asyncDispose]();
    assert.deepEqual((await journal.read(key))?.plan, { ...plan, plannedAt });
  }
  assert.deepEqual(await readdir(directory), ['c1:eth0']);
});

test('a crash between the two names of a new entry leaves the entry', async () => {
  const journal = await Journal.open(directory);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  await link(join(directory, 'c1:eth0'), join(directory, 'c1:eth0.unfinished:'));
  assert.deepEqual(await journal.list(), [key]);
  const again = await Journal.open(directory);
  assert.deepEqual((await again.read(key))?.plan, plan);
  assert.deepEqual(await readdir(directory), ['c1:eth0']);
});

test('two that record at once add whole lines, in the order of time', async () => {
  const journal = await Journal.open(directory);
  await using first = await journal.begin(plan);
  await first.add({ step: 'added', ifName: 'net1', result: {} });
  {
    await using second = await journal.resume(key);
    await second.add({ step: 'deleted', ifName: 'net1' });
  }
  await first.add({ step: 'complete' });
  const entry = await journal.read(key);
  assert.deepEqual([entry?.results.size, entry?.deleted.size, entry?.complete], [1, 1, true]);
});

test('a disk without room keeps what is there, and takes further steps once there is room', async () => {
  await using disk = await smallDisk();
  const journal = await Journal.open(disk.path);
  const path = join(disk.path, 'c1:eth0');
  await using recording = await journal.begin(plan);
  await recording.add({ step: 'added', ifName: 'net1', result: { ips: [] } });
  const before = await readFile(path, 'utf8');
  const result = { filler: 'x'.repeat(100_000) };
  for (let i = 0; i < 2; i++) {
    await assert.rejects(recording.add({ step: 'added', ifName: 'net2', result }), { code: 'ENOSPC' });
  }
  assert.deepEqual([...((await journal.read(key))?.results.keys() ?? [])], ['net1']);
  await assert.rejects(journal.begin({ ...plan, containerId: 'c2', args: 'x'.repeat(100_000) }), { code: 'ENOSPC' });
  assert.deepEqual(await journal.list(), [key]);
  const step = { step: 'deleted', ifName: 'net1' } as const;
  await recording.add(step);
  assert.equal(await readFile(path, 'utf8'), before + encodeLine(step));
});

test('a torn line is dropped by its bytes, whatever was in it and before it', async () => {
  const journal = await Journal.open(directory);
  const odd: Plan = { ...plan, args: 'K8S_POD_NAME=\u2028ümläut\ud800' };
  await (await journal.begin(odd))[Symbol.asyncDispose]();
  const whole = await readFile(join(directory, 'c1:eth0'));
  for (const torn of [Buffer.from([0xff, 0xfe, 0x80]), Buffer.alloc(5000), Buffer.from('{"step":"complete"}')]) {
    await appendFile(join(directory, 'c1:eth0'), torn);
    assert.deepEqual((await journal.read(key))?.plan, odd);
    await (await journal.resume(key))[Symbol.asyncDispose]();
    assert.deepEqual(await readFile(join(directory, 'c1:eth0')), whole);
  }
});

const corrupt: readonly [title: string, content: string, reason: RegExp][] = [
  ['an empty file', '', /the plan is missing/],
  ['half a plan', encodeLine(plan).slice(0, 50), /the plan is missing/],
  ['no JSON', 'rubbish\n', /line 1 is no JSON/],
  ['no object', 'null\n', /line 1: /],
  ['a plan of another version', encodeLine(plan).replace('"version":1', '"version":2'), /line 1: version: /],
  ['a plan with less', encodeLine(plan).replace('"defaultName":"a",', ''), /line 1: attachments\.0\.defaultName: /],
  ['a plan with more', encodeLine(plan).replace('"version":1', '"version":1,"more":1'), /line 1: .*more/],
  ['a step without a plan', encodeLine({ step: 'complete' }), /line 1: /],
  ['a step that is none', `${encodeLine(plan)}{"step":"done"}\n`, /line 2: step: /],
  [
    'zeros for a step',
    `${encodeLine(plan)}${encodeLine({ step: 'complete' })}${'\0'.repeat(20)}\n`,
    /line 3 is no JSON/,
  ],
  ['an empty line', `${encodeLine(plan)}\n`, /line 2 is no JSON/],
  [
    "another entry's plan",
    encodeLine({ ...plan, containerId: 'c9' }),
    /it is the entry of container c9, interface eth0/,
  ],
];

test('an entry whose bytes are no text is corrupt: a configuration must not be used with other characters in it', async () => {
  const journal = await Journal.open(directory);
  const bytes = Buffer.from(encodeLine(plan));
  bytes[bytes.indexOf('unknown')] = 0xff;
  await writeFile(join(directory, 'c1:eth0'), bytes);
  await assert.rejects(journal.read(key), { name: 'CorruptEntryError', message: /it is no UTF-8/ });
});

for (const [title, content, reason] of corrupt) {
  test(`an entry that cannot be trusted is reported with its path, the line and what to do: ${title}`, async () => {
    const journal = await Journal.open(directory);
    const path = join(directory, 'c1:eth0');
    await writeFile(path, content);
    await assert.rejects(journal.read(key), (error: unknown) => {
      assert.ok(error instanceof CorruptEntryError);
      assert.equal(error.path, path);
      assert.ok(error.message.startsWith(`journal entry ${path} cannot be read: `));
      assert.match(error.message, reason);
      assert.match(error.message, /release by hand what it names, then remove the file$/);
      assert.ok(!error.message.includes('\n'), 'one line');
      return true;
    });
    assert.deepEqual(await journal.list(), [key], 'it is listed, for nobody may pass over it');
    assert.equal(await readFile(path, 'utf8'), content, 'it is left as it is');
  });
}

test('every container ID and interface name that CNI allows has an entry of its own', async () => {
  const journal = await Journal.open(directory);
  const characters = 'aZ09._-'.split('');
  const containerId = fc
    .array(fc.constantFrom(...characters), { minLength: 0, maxLength: 199 })
    .map((rest) => `c${rest.join('')}`);
  const ifName = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 15 })
    .filter((name) => Buffer.byteLength(name) <= 15 && !/[/:\s\0]/.test(name) && name.isWellFormed());
  await fc.assert(
    fc.asyncProperty(containerId, ifName, async (container, name) => {
      const own = { containerId: container, ifName: name };
      await (await journal.begin({ ...plan, ...own }))[Symbol.asyncDispose]();
      assert.deepEqual(await journal.list(), [own]);
      const entry = await journal.read(own);
      assert.deepEqual([entry?.plan.containerId, entry?.plan.ifName], [container, name]);
      await journal.remove(own);
      assert.deepEqual(await readdir(directory), []);
    }),
    { numRuns: 50 },
  );
});

test('files and directories of others are not taken for entries, nor removed', async () => {
  const journal = await Journal.open(directory);
  for (const name of ['README', 'a:b:c', ':eth0', 'c1:', '.c1:eth0.swp:']) await writeFile(join(directory, name), 'x');
  await mkdir(join(directory, 'lost+found'));
  assert.deepEqual(await journal.list(), []);
  await Journal.open(directory);
  assert.equal((await readdir(directory)).length, 6);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  await copyFile(join(directory, 'c1:eth0'), join(directory, 'c2:eth0'));
  await assert.rejects(journal.read({ containerId: 'c2', ifName: 'eth0' }), CorruptEntryError);
});

test('a journal that is looked at is neither made nor tidied', async () => {
  await writeFile(join(directory, 'c1:eth0'), encodeLine(plan));
  // What another process is just writing.
  await writeFile(join(directory, 'c2:eth0.unfinished:'), encodeLine(plan));
  const journal = Journal.look(directory);
  assert.deepEqual(await journal.list(), [key]);
  assert.deepEqual((await journal.read(key))?.plan, plan);
  assert.deepEqual((await readdir(directory)).sort(), ['c1:eth0', 'c2:eth0.unfinished:']);
  await assert.rejects(Journal.look(join(directory, 'none')).list(), { code: 'ENOENT' });
});

test('a journal is made with all directories above it, and no file stays open', async () => {
  const open = () => readdirSync('/proc/self/fd').flatMap((fd) => readlinkOf(fd) ?? []);
  const before = open();
  const deep = join(directory, 'var', 'lib', 'plexus', 'journal');
  const journal = await Journal.open(`${deep}/`);
  assert.equal((await stat(deep)).mode & 0o777, 0o700);
  await (await journal.begin(plan))[Symbol.asyncDispose]();
  await assert.rejects(journal.begin(plan));
  await assert.rejects(journal.resume({ ...key, containerId: 'none' }), { code: 'ENOENT' });
  await (await journal.resume(key))[Symbol.asyncDispose]();
  await journal.remove(key);
  await rm(deep, { recursive: true });
  await assert.rejects(journal.remove(key), { code: 'ENOENT' });
  assert.deepEqual(open(), before);
});

function readlinkOf(fd: string): string | undefined {
  try {
    return `${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`;
  } catch {
    return undefined;
  }
}

const json = fc.dictionary(fc.oneof(fc.string(), fc.constant('__proto__')), fc.jsonValue({ noUnicodeString: false }));
const anyPlan: fc.Arbitrary<Plan> = fc
  .record({
    netns: fc.string(),
    args: fc.string({ unit: 'binary' }),
    configs: fc.array(fc.string({ unit: 'binary' }), { maxLength: 4 }),
    runtimeConfig: json,
    cniArgs: json,
  })
  .map(({ netns, args, configs, runtimeConfig, cniArgs }) => ({
    ...plan,
    netns,
    args,
    attachments: configs.map((config, i) => ({
      network: `default/n${i}`,
      ifName: `net${i}`,
      isDefault: i === 0,
      config,
      defaultName: `n${i}`,
      source: 'a test',
      runtimeConfig: JSON.parse(JSON.stringify(runtimeConfig)),
      cniArgs: JSON.parse(JSON.stringify(cniArgs)),
    })),
  }));
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record(
    { step: fc.constant('added' as const), ifName: fc.constantFrom('net0', 'net1', 'net2'), result: json },
    { noNullPrototype: true },
  ),
  fc.record(
    { step: fc.constant('deleted' as const), ifName: fc.constantFrom('net0', 'net1', 'net2') },
    { noNullPrototype: true },
  ),
  fc.constant({ step: 'complete' as const }),
);

test('whatever a crash leaves of the bytes of an entry, it tells the plan and each step that was synced, or is corrupt', async () => {
  const journal = await Journal.open(directory);
  const path = join(directory, 'c1:eth0');
  await fc.assert(
    fc.asyncProperty(
      anyPlan,
      fc.array(anyStep, { maxLength: 6 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (wanted, steps, share) => {
        const lines = [wanted, ...steps].map((value) => Buffer.from(encodeLine(value)));
        const bytes = Buffer.concat(lines);
        const ends = lines.map((_, i) => Buffer.concat(lines.slice(0, i + 1)).length);
        for (const cut of new Set([Math.floor(bytes.length * share), ...ends.flatMap((end) => [end - 1, end])])) {
          await writeFile(path, bytes.subarray(0, cut));
          const whole = ends.filter((end) => end <= cut).length;
          if (whole === 0) {
            await assert.rejects(journal.read(key), CorruptEntryError);
            continue;
          }
          const entry = await journal.read(key);
          assert.deepEqual(entry, decodeEntry(lines.slice(0, whole).join('')), 'what is torn is as if it never was');
          assert.deepEqual(entry?.plan, wanted);
          const done = steps.slice(0, whole - 1);
          assert.equal(
            entry?.complete,
            done.some(({ step }) => step === 'complete'),
          );
          for (const each of done) {
            if (each.step === 'deleted') assert.ok(entry?.deleted.has(each.ifName));
            if (each.step === 'added') assert.ok(entry?.results.has(each.ifName));
          }
          {
            await using recording = await journal.resume(key);
            await recording.add({ step: 'deleted', ifName: 'after' });
          }
          assert.ok((await journal.read(key))?.deleted.has('after'), 'DEL goes on from there');
        }
      },
    ),
    { numRuns: 25 },
  );
});

test('an entry of which any byte was changed is read, or corrupt with its path, and nothing else', async () => {
  const journal = await Journal.open(directory);
  const path = join(directory, 'c1:eth0');
  const bytes = Buffer.from(
    [
      encodeLine(plan),
      encodeLine({ step: 'added', ifName: 'net1', result: {} }),
      encodeLine({ step: 'complete' }),
    ].join(''),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      async (edits) => {
        const copy = Buffer.from(bytes);
        for (const [at, byte] of edits) copy[at] = byte;
        await writeFile(path, copy);
        const error = await journal.read(key).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        assert.ok(error === undefined || (error instanceof CorruptEntryError && error.path === path), String(error));
      },
    ),
    { numRuns: 200 },
  );
});

test('what is attached and detached while the pod runs is read as what there is by then', async () => {
  const journal = await Journal.open(directory);
  const [net1] = plan.attachments;
  assert.ok(net1);
  const net2 = { ...net1, ifName: 'net2', selection: { namespace: 'default', name: 'b', mac: '02:00:00:00:00:01' } };
  const route = { family: 4, ifName: 'eth0', gateway: '10.0.0.1', priority: 0 } as const;
  const names = async () => (await journal.read(key))?.plan.attachments.map(({ ifName }) => ifName);
  await using recording = await journal.begin({ ...plan, networks: 'a' });
  await recording.add({ step: 'added', ifName: 'net1', result: {} });
  await recording.add({ step: 'complete' });
  assert.equal((await journal.read(key))?.settled, 'a');
  await recording.add({ step: 'planned', attachment: net2 });
  await recording.add({ step: 'default-route', ifName: 'net2', taken: [route] });
  await recording.add({ step: 'added', ifName: 'net2', result: { ips: [] } });
  const attached = await journal.read(key);
  assert.deepEqual(attached?.plan.attachments, [net1, net2]);
  assert.deepEqual(attached?.takenRoutes.get('net2'), [route]);
  assert.deepEqual([attached?.changed, attached?.settled], [true, undefined]);
  await recording.add({ step: 'settled', networks: 'a,b' });
  assert.equal((await journal.read(key))?.settled, 'a,b');
  await recording.add({ step: 'detaching', ifName: 'net1' });
  assert.ok((await journal.read(key))?.detaching.has('net1'));
  assert.deepEqual(await names(), ['net1', 'net2']);
  await recording.add({ step: 'detached', ifName: 'net1', held: true });
  const detached = await journal.read(key);
  assert.deepEqual(await names(), ['net2']);
  assert.deepEqual([...(detached?.results.keys() ?? [])], ['net2']);
  assert.deepEqual([...(detached?.held ?? [])], [['net1', net1]]);
  assert.equal(detached?.detaching.size, 0);
  await recording.add({ step: 'unheld', ifName: 'net1' });
  assert.equal((await journal.read(key))?.held.size, 0);
});
