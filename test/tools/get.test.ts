import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ensureCommands, type GoPluginsVersion, goPlugins } from '../../tools/debian.ts';

const run = promisify(execFile);
const tool = resolve(import.meta.dirname, '../../tools/get.ts');

const newestOf: Readonly<Record<GoPluginsVersion, string>> = { '1.1': '1.0.0', '1.9': '1.1.0' };

for (const version of ['1.1', '1.9'] as const) {
  test(`the containernetworking plugins ${version} run here`, async () => {
    const ipvlan = join(await goPlugins(version), 'ipvlan');
    const { stdout } = await run(ipvlan, { env: { CNI_COMMAND: 'VERSION' } });
    assert.equal(JSON.parse(stdout).supportedVersions.at(-1), newestOf[version]);
  });
}

test('what is there is not asked for again: apt need not even exist', async (t) => {
  await ensureCommands(['gcc', 'libc6-dev']);
  const directory = await mkdtemp(join(tmpdir(), 'plx-path-'));
  t.after(() => rm(directory, { recursive: true }));
  await symlink('/bin/true', join(directory, 'gcc'));
  const { stdout, stderr } = await run(process.execPath, [tool, 'gcc', 'libc6-dev'], { env: { PATH: directory } });
  assert.deepEqual({ stdout, stderr }, { stdout: '', stderr: '' });
});

test('a name that is not known is refused with those that are', async () => {
  await assert.rejects(run(process.execPath, [tool, 'gcc', 'no-such-thing']), {
    code: 2,
    stderr: /^unknown: no-such-thing\nknown: .*\bgcc .*\bgo-plugins-1\.9\b.*\n$/,
  });
});
