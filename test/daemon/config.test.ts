import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readDaemonConfig } from '../../src/daemon/config.ts';
import { testDirectory } from '../support/directory.ts';

test('without a file all has its default', async () => {
  const { nodeName, ...config } = await readDaemonConfig(undefined);
  assert.equal(nodeName, process.env['MULTUS_NODE_NAME'] ?? process.env['NODE_NAME'] ?? hostname());
  assert.deepEqual(config, {
    socketDir: '/run/plexus',
    socket: '/run/plexus/plexus.sock',
    stateDir: '/var/lib/plexus',
    cluster: true,
    eventReporter: 'multus',
    metricsPort: 9091,
    logLevel: 'info',
    executedPlugins: [],
    binDir: '/opt/cni/bin',
    overlay: {},
  });
});

test('what the command line says counts more than the file, and only what was given overlays the runtime', async () => {
  await using directory = await testDirectory();
  const file = join(directory.path, 'daemon-config.json');
  await writeFile(file, '{"socketDir":"/run/multus","logLevel":"verbose","clusterNetwork":"aws-cni","nodeName":"n1"}');
  const config = await readDaemonConfig(file, { socketDir: '/run/other' });
  assert.equal(config.socket, '/run/other/plexus.sock');
  assert.equal(config.logLevel, 'verbose');
  assert.equal(config.nodeName, 'n1');
  assert.deepEqual(config.overlay, {
    socketDir: '/run/other',
    logLevel: 'verbose',
    clusterNetwork: 'aws-cni',
    nodeName: 'n1',
  });
});

const wrong: readonly [string, string, string | RegExp][] = [
  ['a port beyond all', '{"metricsPort":70000}', 'metricsPort: expected at most 65535, found 70000'],
  [
    'a directory that depends on where one is',
    '{"stateDir":"var"}',
    'stateDir: expected an absolute path, found "var"',
  ],
  [
    'an unknown level',
    '{"logLevel":"loud"}',
    'logLevel: expected debug, verbose, info, warn, error or panic, found "loud"',
  ],
  ['text for a flag', '{"cluster":"yes"}', 'cluster: expected true or false, found "yes"'],
  ['a list', '[]', 'expected a JSON object'],
  ['malformed JSON', '{"a":}', /line 1, column 6/],
];
for (const [name, text, message] of wrong) {
  test(`${name} is an error that names the file and the key`, async () => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'daemon.json');
    await writeFile(file, text);
    await assert.rejects(readDaemonConfig(file), (error: Error) => {
      assert.ok(error.message.startsWith(`${file}: `), error.message);
      if (typeof message === 'string') assert.equal(error.message, `${file}: ${message}`);
      else assert.match(error.message, message);
      return true;
    });
  });
}

test('a file that is not there is an error that names it', async () => {
  await assert.rejects(readDaemonConfig('/nowhere/daemon.json'), /\/nowhere\/daemon\.json/);
});
