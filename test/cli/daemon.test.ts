import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { callDaemon } from '../../src/daemon/client.ts';
import { testDirectory } from '../support/directory.ts';
import { run, start } from './plexus.ts';

const timeout = 60_000;

/** A daemon that answers it has got all the signals in hand. */
const version = { name: 'plexus', env: { CNI_COMMAND: 'VERSION' }, stdin: '' };

test('plexus version tells the version of plexus and of node', { timeout }, async () => {
  const manifest = JSON.parse(await readFile(join(import.meta.dirname, '../../package.json'), 'utf8'));
  assert.deepEqual(await run(['version']), {
    status: 0,
    stdout: `plexus ${manifest.version}, node ${process.version}\n`,
    stderr: '',
  });
});

test('plexus alone, or with what it does not know, tells what there is', { timeout }, async () => {
  for (const args of [[], ['deamon'], ['daemon', '--verbose']]) {
    const { status, stderr } = await run(args);
    assert.equal(status, 1);
    assert.match(stderr, /Usage: plexus|plexus --help/);
  }
});

describe('plexus daemon', { timeout }, () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`answers until ${signal}, and leaves no socket`, async () => {
      await using directory = await testDirectory();
      const file = join(directory.path, 'daemon.json');
      await writeFile(
        file,
        JSON.stringify({ stateDir: join(directory.path, 'state'), socketDir: '/nowhere', metricsPort: 0 }),
      );
      const child = start(['daemon', '--config', file, '--no-cluster', '--socket-dir', join(directory.path, 'run')]);
      const lines = createInterface(child.stderr ?? assert.fail());
      const logged: string[] = [];
      lines.on('line', (line) => logged.push(JSON.parse(line).msg));
      await once(lines, 'line');
      assert.deepEqual(logged, ['ready']);

      const socket = join(directory.path, 'run/plexus.sock');
      assert.equal((await callDaemon(socket, version, 10_000)).exitStatus, 0);
      // libuv has made its threads by then: as many as the command wants, beside those that there are without them.
      const tasks = await readdir(`/proc/${child.pid}/task`);
      assert.ok(tasks.length > 16, `${tasks.length} threads`);

      child.kill(signal);
      assert.deepEqual(await once(child, 'close'), [0, null]);
      assert.deepEqual(logged, ['ready', 'ending: no more calls are taken', 'ended']);
      await assert.rejects(stat(socket), { code: 'ENOENT' });
    });
  }

  test('logs to a file, goes on in another after SIGHUP, and loses no line at its end', async () => {
    await using directory = await testDirectory();
    const at = (name: string): string => join(directory.path, name);
    const config = {
      stateDir: at('state'),
      socketDir: at('run'),
      metricsPort: 0,
      logFile: at('log/plexus.log'),
      logToStderr: true,
    };
    await writeFile(at('daemon.json'), JSON.stringify(config));
    const child = start(['daemon', '--config', at('daemon.json'), '--no-cluster']);
    const lines = createInterface(child.stderr ?? assert.fail());
    const logged: string[] = [];
    lines.on('line', (line) => logged.push(line));
    await once(lines, 'line');
    while (!(await readFile(config.logFile, 'utf8')).includes('"ready"')) await sleep(5);
    await rename(config.logFile, at('log/moved'));
    child.kill('SIGHUP');
    while (!(await readdir(at('log'))).includes('plexus.log')) await sleep(5);
    await callDaemon(at('run/plexus.sock'), version, 10_000);
    child.kill('SIGTERM');
    assert.deepEqual(await once(child, 'close'), [0, null]);
    const texts = await Promise.all(['log/moved', 'log/plexus.log'].map((name) => readFile(at(name), 'utf8')));
    assert.deepEqual(texts.join('').trimEnd().split('\n'), logged);
    assert.match(logged.at(-1) ?? '', /"ended"/);
  });

  test('goes on with standard error where the log file cannot be opened', async () => {
    await using directory = await testDirectory();
    const at = (name: string): string => join(directory.path, name);
    const config = { stateDir: at('state'), socketDir: at('run'), metricsPort: 0, logFile: directory.path };
    await writeFile(at('daemon.json'), JSON.stringify(config));
    const child = start(['daemon', '--config', at('daemon.json'), '--no-cluster']);
    const lines = createInterface(child.stderr ?? assert.fail());
    const logged: string[] = [];
    lines.on('line', (line) => logged.push(JSON.parse(line).msg));
    while (!logged.includes('ready')) await once(lines, 'line');
    await callDaemon(at('run/plexus.sock'), version, 10_000);
    assert.equal(logged[0], 'the log file cannot be opened: the log goes to standard error');
    child.kill('SIGTERM');
    assert.deepEqual(await once(child, 'close'), [0, null]);
  });

  const wrong: readonly [string, readonly string[], RegExp][] = [
    ['a configuration that is not there', ['--config', '/nowhere/daemon.json'], /^plexus: .*\/nowhere\/daemon\.json/],
    [
      'a level that is none',
      ['--log-level', 'loud'],
      /^plexus: the command line: logLevel: expected debug, .*, found "loud"\n$/,
    ],
    [
      'a port that is none',
      ['--metrics-port', 'http'],
      /^error: option '--metrics-port <port>' argument 'http' is invalid/,
    ],
    ['no way to a cluster', [], /^plexus: kubeconfig: expected the path of a kubeconfig/],
  ];
  for (const [name, args, message] of wrong) {
    test(`${name} is an error, and nothing is made`, async () => {
      await using directory = await testDirectory();
      const state = join(directory.path, 'state');
      const { status, stderr } = await run(['daemon', '--state-dir', state, '--socket-dir', state, ...args]);
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.deepEqual(await readdir(directory.path), []);
    });
  }
});
