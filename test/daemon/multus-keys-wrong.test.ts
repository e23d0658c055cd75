import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { readDaemonConfig, reportUnused } from '../../src/daemon/config.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog } from './log.ts';
import { multusKeys, nodeWith } from './multus-keys.ts';

/** A value of a wrong type for each key, and what is said of it. */
const wrong: readonly [string, JsonObject[string], string][] = [
  ['cniVersion', 1, 'cniVersion: expected a string, found 1'],
  ['name', 5, 'name: expected a string, found 5'],
  ['type', 5, 'type: expected text, found 5'],
  ['capabilities', { portMappings: 'yes' }, 'capabilities.portMappings: expected true or false, found "yes"'],
  ['confDir', 5, 'confDir: expected a string, found 5'],
  ['binDir', ['/opt/cni/bin'], 'binDir: expected a string, found ["/opt/cni/bin"]'],
  ['clusterNetwork', {}, 'clusterNetwork: expected the name or the file of the default network, found {}'],
  ['defaultNetworks', 'side', 'defaultNetworks: expected a list, found "side"'],
  ['systemNamespaces', [1], 'systemNamespaces[0]: expected a string, found 1'],
  ['multusNamespace', true, 'multusNamespace: expected a string, found true'],
  ['delegates', [1], 'delegates[0]: expected the configuration of a network, found 1'],
  ['readinessindicatorfile', 1, 'readinessindicatorfile: expected the path of a file, found 1'],
  ['namespaceIsolation', 'true', 'namespaceIsolation: expected true or false, found "true"'],
  ['globalNamespaces', ['a'], 'globalNamespaces: expected a string, found ["a"]'],
  ['retryDeleteOnError', 1, 'retryDeleteOnError: expected true or false, found 1'],
  ['auxiliaryCNIChainName', 1, 'auxiliaryCNIChainName: expected the name of a directory, found 1'],
  ['logToStderr', 'yes', 'logToStderr: expected true or false, found "yes"'],
  ['logOptions', { maxAge: '5' }, 'logOptions.maxAge: expected a number, found "5"'],
];
const wrongForDaemon: typeof wrong = [
  ['kubeconfig', 5, 'kubeconfig: expected a path, found 5'],
  ['cniDir', 5, 'cniDir: expected a path, found 5'],
  ['logFile', 5, 'logFile: expected a path, found 5'],
  ['logLevel', 5, 'logLevel: expected the name of a level, found 5'],
  ['chrootDir', 5, 'chrootDir: expected a path, found 5'],
  ['socketDir', 5, 'socketDir: expected a path, found 5'],
  ['daemonSocketDir', 5, 'daemonSocketDir: expected a path, found 5'],
  ['metricsPort', '9091', 'metricsPort: expected a number, found "9091"'],
  ['connectionLimit', -1, 'connectionLimit: expected at least 0, found -1'],
  [
    'perNodeCertificate',
    { enabled: 'yes', certDuration: 10 },
    'perNodeCertificate.enabled: expected true or false, found "yes"; ' +
      'perNodeCertificate.certDuration: expected a duration such as 10m or 1h30m, found 10',
  ],
  [
    'perNodeCertificate',
    { enabled: true, certDir: '/certs' },
    'perNodeCertificate.bootstrapKubeconfig: expected an absolute path, as enabled is true, found nothing',
  ],
  [
    'perNodeCertificate',
    { certDuration: '5m' },
    'perNodeCertificate.certDuration: expected at least 10m, which is the least that Kubernetes signs for, found "5m"',
  ],
  ['multusConfigFile', true, 'multusConfigFile: expected "auto" or a path, found true'],
  ['multusMasterCNI', 10, 'multusMasterCNI: expected the name of a file, found 10'],
  ['multusAutoconfigDir', 10, 'multusAutoconfigDir: expected a path, found 10'],
  ['cniConfigDir', 10, 'cniConfigDir: expected a string, found 10'],
  ['forceCNIVersion', 'no', 'forceCNIVersion: expected true or false, found "no"'],
  ['overrideNetworkName', 'no', 'overrideNetworkName: expected true or false, found "no"'],
  ['enablePprof', 'no', 'enablePprof: expected true or false, found "no"'],
];
const wrongForRuntime: typeof wrong = [
  ['kubeconfig', 5, 'kubeconfig: expected text, found 5'],
  ['cniDir', 5, 'cniDir: expected text, found 5'],
  ['logFile', 5, 'logFile: expected text, found 5'],
  ['logLevel', 5, 'logLevel: expected text, found 5'],
];

describe('a value of a wrong type is an error with its path', () => {
  for (const [key, value, message] of [...wrong, ...wrongForDaemon]) {
    test(`${key} in daemon-config.json: ${message}`, async () => {
      await using directory = await testDirectory();
      const file = join(directory.path, 'daemon-config.json');
      await writeFile(file, JSON.stringify({ [key]: value }));
      await assert.rejects(readDaemonConfig(file), { message: `${file}: ${message}` });
    });
  }

  test('in the CNI configuration, as the answer to the runtime', async (t) => {
    await using node = await nodeWith({ daemon: { binDir: undefined }, runtime: {} });
    for (const [key, value, message] of [...wrong, ...wrongForRuntime]) {
      await t.test(`${key}: ${message}`, async () => {
        const { exitStatus, stdout } = await node.call({ command: 'ADD', config: { [key]: value } });
        const { code, msg } = JSON.parse(stdout);
        assert.deepEqual([exitStatus, code, msg], [1, 7, `the CNI configuration of Plexus: ${message}`]);
      });
    }
  });

  test('each key of Multus is tried', () => {
    const tried = new Set([...wrong, ...wrongForDaemon].map(([key]) => key));
    assert.deepEqual(
      multusKeys.filter((key) => !tried.has(key)),
      [],
    );
  });
});

describe('a key that nobody knows is named in a warning', () => {
  test('of daemon-config.json, at the start', async () => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'daemon-config.json');
    await writeFile(file, '{"readinessIndicatorFile":"","sockteDir":"/run"}');
    const { log, lines } = keptLog();
    reportUnused(await readDaemonConfig(file), log);
    const keys = ['sockteDir'];
    assert.deepEqual(lines, [{ level: 40, file, keys, msg: 'nobody knows these keys of the configuration' }]);
  });

  test('of the CNI configuration, once, and those that count in daemon-config.json only as well', async () => {
    const keys = { NamespaceIsolation: true, defaultNetwork: 'a', logLevel: 'debug', prevResult: {}, args: {} };
    await using node = await nodeWith({ daemon: {}, runtime: {} });
    for (const sandbox of ['c1', 'c2']) await node.call({ command: 'ADD', sandbox, config: keys });
    const told = node.lines.flatMap(({ level, keys, msg }) => (Array.isArray(keys) ? [[level, ...keys, msg]] : []));
    assert.deepEqual(told, [
      [40, 'defaultNetwork', 'nobody knows these keys of the CNI configuration'],
      [30, 'logLevel', "these keys of the CNI configuration count in the daemon's configuration only"],
    ]);
  });
});
