import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { executePlugin, findPlugin } from '../../src/cni/exec.ts';
import { resolveIn } from '../../src/cni/root.ts';
import { Runner } from '../../src/cni/runner.ts';
import { pluginRoot } from '../../src/daemon/root.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';

/** Says which root it sees, where it is looked for, and how it was called. */
const source = `
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char marker[64] = "";
	char directory[64] = "";
	FILE *file = fopen("/marker", "r");
	if (file == NULL || fgets(marker, sizeof(marker), file) == NULL || getcwd(directory, sizeof(directory)) == NULL)
		return 1;
	printf("{\\"cniVersion\\":\\"1.1.0\\",\\"dns\\":{\\"domain\\":\\"%s\\",\\"search\\":[\\"%s\\",\\"%s\\",\\"%s\\",\\"%s\\"]}}",
	       marker, directory, argv[0], getenv("CNI_PATH"), getenv("CNI_NETNS"));
	return argc - 1;
}
`;

describe('a plugin that is executed in the root of the node', { timeout: 60_000 }, () => {
  let directory: TestDirectory;
  const at = (name: string): string => join(directory.path, name);

  before(async () => {
    directory = await testDirectory();
    await mkdir(at('host/usr/libexec/cni'), { recursive: true });
    await mkdir(at('host/opt'));
    await symlink('/usr/libexec/cni', at('host/opt/bin'));
    await symlink('/usr/libexec/cni/probe', at('host/usr/libexec/cni/link'));
    await writeFile(at('host/marker'), 'host');
    await writeFile(at('probe.c'), source);
    await promisify(execFile)('cc', ['-static', '-o', at('host/usr/libexec/cni/probe'), at('probe.c')]);
    await writeFile(at('host/usr/libexec/cni/broken'), '');
    await chmod(at('host/usr/libexec/cni/broken'), 0o755);
  });
  after(() => directory[Symbol.asyncDispose]());

  const attachment = (path: readonly string[]) => ({
    containerId: 'c1',
    netns: '/run/netns/plx-none',
    ifName: 'eth0',
    args: new Map<string, string>(),
    path,
  });

  for (const type of ['probe', 'link']) {
    test(`is found and runs there, its paths being the node's (${type})`, async () => {
      const runner = new Runner({ builtin: [], root: await pluginRoot(at('host/')) });
      const config = { cniVersion: '1.1.0', name: 'net', type };
      const { dns } = await runner.add(config, attachment(['/nowhere', '/opt/bin']));
      assert.deepEqual(dns, {
        domain: 'host',
        search: ['/', `/opt/bin/${type}`, '/nowhere:/opt/bin', '/run/netns/plx-none'],
      });
    });
  }

  test('is not found by what is only in the root of the daemon', async () => {
    const root = await pluginRoot(at('host'));
    await assert.rejects(findPlugin('sh', ['/bin'], root), { code: 999, message: /failed to find plugin "sh"/ });
  });

  test('and cannot be executed is an error in the words of chroot', async () => {
    const execution = { env: {}, stdin: '', timeoutMs: 10_000, root: await pluginRoot(at('host')) };
    await assert.rejects(executePlugin('/opt/bin/none', execution), {
      code: 999,
      message: /^\/opt\/bin\/none ended with exit status 127 and said: .*chroot: failed to run command/,
    });
  });

  test('has a root that must be there', async () => {
    await assert.rejects(pluginRoot('/nowhere/hostroot'), {
      message: /^chrootDir: expected a directory, the root of the node, found none at \/nowhere\/hostroot/,
    });
    assert.equal(await pluginRoot('/'), undefined);
    assert.equal(await pluginRoot(undefined), undefined);
  });

  test('is found by links that never lead out of it', async () => {
    await symlink('../../../../..', at('host/up'));
    await symlink('loop', at('host/loop'));
    assert.equal(await resolveIn(at('host'), '/up/marker'), at('host/marker'));
    assert.equal(await resolveIn(at('host'), '/opt/bin/../../../marker'), at('host/marker'));
    await assert.rejects(resolveIn(at('host'), '/loop'), { code: 'ELOOP' });
    await assert.rejects(resolveIn(at('host'), '/none'), { code: 'ENOENT' });
  });
});
