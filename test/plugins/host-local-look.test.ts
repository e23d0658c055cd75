import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatIP } from '../../src/net/ip.ts';
import { lookAtReservations } from '../../src/plugins/host-local/look.ts';
import { testDirectory } from '../support/directory.ts';

test('looking at reservations makes and removes nothing, and waits for nobody', async () => {
  await using directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  assert.equal((await lookAtReservations(at('none'))).size, 0);
  await writeFile(at('10.0.0.2'), 'c1\r\neth0\n');
  await writeFile(at('fd00::2'), 'c2');
  // Never written; no address as this program writes it; no file.
  await writeFile(at('10.0.0.3'), '', { mode: 0o600 });
  await writeFile(at('10.0.0.04'), 'c3');
  await mkdir(at('10.0.0.5'));
  const before = (await readdir(directory.path)).sort();
  const found = [...(await lookAtReservations(directory.path))].map(({ ip, owner }) => [formatIP(ip), owner]);
  assert.deepEqual(found.sort(), [
    ['10.0.0.2', 'c1\r\neth0'],
    ['10.0.0.3', ''],
    ['10.0.0.5', ''],
    ['fd00::2', 'c2'],
  ]);
  assert.deepEqual((await readdir(directory.path)).sort(), before);
});
