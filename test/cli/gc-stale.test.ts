import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isGone, strayAddresses } from '../../src/cli/gc/stale.ts';
import type { Entry } from '../../src/journal/entry.ts';
import { entryOf } from '../journal/entries.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';

const entry = (netns: string, config = '{}'): Entry => entryOf({ netns }, { config });

test('a namespace counts as gone only where it would be seen if it were there', async () => {
  await using directory = await testDirectory();
  await using namespace = await testNamespace();
  const unmounted = join(directory.path, 'unmounted');
  await writeFile(unmounted, '');
  const cases: readonly [netns: string, expected: boolean][] = [
    [namespace.path, false],
    [join(directory.path, 'none'), true],
    [unmounted, true],
    // No process has a number so great (PID_MAX_LIMIT of linux/threads.h).
    ['/proc/4194305/ns/net', true],
    [join(directory.path, 'not-mounted-here/none'), false],
  ];
  for (const [netns, expected] of cases) assert.equal(await isGone(entry(netns)), expected, netns);
});

test('an address is of nobody unless its container is in the journal by then', async () => {
  await using directory = await testDirectory();
  await mkdir(join(directory.path, 'n'));
  const files = { '10.0.0.2': 'c1\r\neth0', '10.0.0.3': 'c2\r\nnet1', '10.0.0.4': 'c3', '10.0.0.10': 'keep', lock: '' };
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory.path, 'n', name), content);
  const ipam = { type: 'host-local', dataDir: directory.path, subnet: '10.0.0.0/24' };
  const known = entry('/none', JSON.stringify({ cniVersion: '1.0.0', type: 'macvlan', ipam }));
  const broken = entry('/none', '{');
  const found = await strayAddresses([known, broken], () => Promise.resolve(new Set(['c1', 'c2'])));
  assert.deepEqual(
    found.map(({ address, owner }) => [address, owner]),
    [
      ['10.0.0.4', 'c3'],
      ['10.0.0.10', 'keep'],
    ],
  );
});
