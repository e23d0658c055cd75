import assert from 'node:assert/strict';
import { mkdir, open, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { executePlugin, findPlugin } from '../../src/cni/exec.ts';
import { binDirectory, rejectedBy } from './support.ts';

const patience = 30_000;
const execution = { env: { PATH: '/usr/bin:/bin' }, stdin: '', timeoutMs: patience };

describe('a plugin is found', () => {
  test('in the first directory that has a file of its name', async () => {
    await using one = await binDirectory();
    await using two = await binDirectory({ fake: 'true' });
    await using three = await binDirectory({ fake: 'true' });
    await mkdir(join(one.path, 'fake'));
    assert.equal(await findPlugin('fake', ['/nowhere', one.path, two.path, three.path]), join(two.path, 'fake'));
  });

  test('through a link', async () => {
    await using bin = await binDirectory({ real: 'true' });
    await symlink('real', join(bin.path, 'fake'));
    assert.equal(await findPlugin('fake', [bin.path]), join(bin.path, 'fake'));
  });

  test('or not', async () => {
    assert.deepEqual(await rejectedBy(findPlugin('fake', ['/nowhere', '/neither'])), [
      999,
      'failed to find plugin "fake" in path [/nowhere /neither]',
      'install the plugin in one of these directories, or correct the type in the configuration',
    ]);
  });

  for (const type of ['', '.', '..', '../sh', '/bin/sh', 'a/b', 'a\0b']) {
    test(`but never by the path ${JSON.stringify(type)}`, async () => {
      const thrown = await rejectedBy(findPlugin(type, ['/bin']));
      assert.deepEqual(thrown, [7, `type: expected the name of a plugin, found "${type}"`, '']);
    });
  }
});

describe('an executed plugin', () => {
  test('has its environment and input, and nothing else; its output comes back whole', async () => {
    await using bin = await binDirectory({ fake: 'cat; env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | sort' });
    const file = join(bin.path, 'fake');
    const env = { ...execution.env, CNI_COMMAND: 'ADD', CNI_ARGS: 'A=1;B="$(id)"' };
    const stdout = await executePlugin(file, { ...execution, env, stdin: '{"é":1}\n' });
    assert.equal(stdout, '{"é":1}\nCNI_ARGS=A=1;B="$(id)"\nCNI_COMMAND=ADD\nPATH=/usr/bin:/bin\n');
  });

  test('need not read its input', async () => {
    await using bin = await binDirectory({ fake: 'exec <&-; echo done' });
    const stdin = 'x'.repeat(1 << 20);
    assert.equal(await executePlugin(join(bin.path, 'fake'), { ...execution, stdin }), 'done\n');
  });

  const failures: readonly [string, string, (file: string) => readonly [number, string, string]][] = [
    [
      'says why',
      `echo '{"cniVersion":"1.0.0","code":11,"msg":"later","details":"because"}'; echo noise >&2; exit 3`,
      () => [11, 'later', 'because'],
    ],
    ['says why without details', `echo '{"code":7,"msg":"no"}'; exit 1`, () => [7, 'no', '']],
    ['says only a code', `echo '{"code":7}'; exit 1`, () => [7, 'error 7 without a message', '']],
    [
      'says it on standard error',
      'echo one >&2; echo two >&2; exit 3',
      (file) => [999, `${file} ended with exit status 3 and said: two`, 'one\ntwo'],
    ],
    [
      'says it in plain words',
      'echo oops; exit 3',
      (file) => [999, `${file} ended with exit status 3 and said: oops`, 'oops'],
    ],
    ['says nothing', 'exit 4', (file) => [999, `${file} ended with exit status 4 without a message`, '']],
    ['is killed', 'kill -9 $$', (file) => [999, `${file} ended with signal SIGKILL without a message`, '']],
    ['prints without end', 'exec yes', (file) => [5, `${file} printed more than 1048576 bytes and was killed`, '']],
  ];
  for (const [name, script, expected] of failures) {
    test(`that fails and ${name}`, async () => {
      await using bin = await binDirectory({ fake: script });
      const file = join(bin.path, 'fake');
      assert.deepEqual(await rejectedBy(executePlugin(file, execution)), expected(file));
    });
  }

  test('has the end of a long standard error told', async () => {
    await using bin = await binDirectory({ fake: 'yes | head -c 1000000 >&2; echo last >&2; exit 1' });
    const [, message, details] = await rejectedBy(executePlugin(join(bin.path, 'fake'), execution));
    assert.match(message, /and said: last$/);
    assert.ok(details.length <= 4096, `${details.length}`);
  });

  test('that does not finish is killed, and no other process is', async () => {
    await using bin = await binDirectory();
    const pid = join(bin.path, 'pid');
    const file = await bin.write('fake', `echo $$ > ${pid}; echo stuck >&2; exec sleep 600`);
    const thrown = await rejectedBy(executePlugin(file, { ...execution, timeoutMs: 500 }));
    assert.deepEqual(thrown, [11, `${file} did not finish within 0.5 s and was killed`, 'stuck']);
    const killed = Number(await readFile(pid, 'utf8'));
    assert.throws(() => process.kill(killed, 0), { code: 'ESRCH' });
  });

  test('is not waited for by what it leaves running', async () => {
    await using bin = await binDirectory();
    const pid = join(bin.path, 'pid');
    const file = await bin.write('fake', `sleep 600 & echo $! > ${pid}; echo done`);
    assert.equal(await executePlugin(file, execution), 'done\n');
    process.kill(Number(await readFile(pid, 'utf8')), 'SIGKILL');
  });

  test('that is being written is waited for', async () => {
    await using bin = await binDirectory({ fake: 'echo done' });
    const file = join(bin.path, 'fake');
    const writer = await open(file, 'r+');
    const run = executePlugin(file, execution);
    await new Promise((resolve) => setTimeout(resolve, 120));
    await writer.close();
    assert.equal(await run, 'done\n');
  });

  test('that cannot be executed', async () => {
    await using bin = await binDirectory({ fake: 'true' });
    const file = join(bin.path, 'gone');
    assert.deepEqual(await rejectedBy(executePlugin(file, execution)), [
      5,
      `cannot execute ${file}: spawn ${file} ENOENT`,
      '',
    ]);
  });
});
