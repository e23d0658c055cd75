import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { readDaemonConfig, reportUnused } from '../../src/daemon/config.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog } from './log.ts';

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
    metricsAddress: '127.0.0.1',
    logLevel: 'info',
    logToStderr: false,
    logOptions: { maxAge: 5, maxSize: 100, maxBackups: 5, compress: true },
    executedPlugins: [],
    binDir: '/opt/cni/bin',
    cniConfigDir: '/etc/cni/net.d',
    kubeletDir: '/var/lib/kubelet',
    deviceInfoDir: '/var/run/k8s.cni.cncf.io/devinfo',
    devicePluginConfig: '/etc/pcidp/config.json',
    devicePluginPrefix: 'intel.com',
    devicePluginUseCDI: false,
    multusConfigFile: undefined,
    overrideNetworkName: false,
    forceCNIVersion: false,
    whenDaemonIsDown: 'wait',
    wishes: {
      name: undefined,
      cniVersion: undefined,
      overrideNetworkName: false,
      forceCNIVersion: false,
      timeoutSeconds: undefined,
      connectSeconds: undefined,
    },
    overlay: {},
    source: 'the command line',
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
  ['an address by name', '{"metricsAddress":"localhost"}', 'metricsAddress: expected an IP address, found "localhost"'],
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
  [
    'a wrong key of what only attachments read',
    '{"cniConfigDir":["/etc/cni/net.d"]}',
    'cniConfigDir: expected a string, found ["/etc/cni/net.d"]',
  ],
  [
    'a wrong key within a key of Multus',
    '{"perNodeCertificate":{"enabled":"yes"}}',
    'perNodeCertificate.enabled: expected true or false, found "yes"',
  ],
  ['a wrong key of the rotation', '{"logOptions":{"maxSize":-1}}', 'logOptions.maxSize: expected at least 0, found -1'],
  [
    'a default network in another directory',
    '{"multusMasterCNI":"../10-aws.conflist"}',
    'multusMasterCNI: expected the name of a file in multusAutoconfigDir, without a slash, found "../10-aws.conflist"',
  ],
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

/** Daemon configurations as they are shipped: AWS' ConfigMap, and that of Multus' own thick manifest. */
const shipped: Readonly<Record<string, string>> = {
  'AWS for Multus 4.1.4': `{"chrootDir":"/hostroot","confDir":"/host/etc/cni/net.d","logFile":"/var/log/multus.log","logLevel":"verbose",
    "socketDir":"/host/run/multus/","cniVersion":"0.3.1","logToStderr":true,"cniConfigDir":"/host/etc/cni/net.d",
    "multusConfigFile":"auto","multusAutoconfigDir":"/host/etc/cni/net.d","multusMasterCNI":"10-aws.conflist"}`,
  "Multus' page on the thick plugin, and all that its other pages add": `{"chrootDir":"/hostroot",
    "confDir":"/host/etc/cni/net.d","logToStderr":true,"logLevel":"verbose","logFile":"/tmp/multus.log",
    "binDir":"/opt/cni/bin","cniDir":"/var/lib/cni/multus","socketDir":"/host/run/multus/","cniVersion":"0.3.1",
    "cniConfigDir":"/host/etc/cni/net.d","multusConfigFile":"auto","multusAutoconfigDir":"/host/etc/cni/net.d",
    "name":"multus-cni-network","type":"multus","capabilities":{"portMappings":true},
    "kubeconfig":"/etc/cni/net.d/multus.d/multus.kubeconfig","clusterNetwork":"default-net","defaultNetworks":["a","b"],
    "delegates":[],"systemNamespaces":["kube-system"],"multusNamespace":"kube-system","namespaceIsolation":true,
    "globalNamespaces":"default,namespace-a","readinessindicatorfile":"/var/run/ready","retryDeleteOnError":true,
    "logOptions":{"maxAge":5,"maxSize":100,"maxBackups":5,"compress":true},"metricsPort":9091,"connectionLimit":20,
    "enablePprof":false,"perNodeCertificate":{"enabled":false,"certDuration":"10m"},"forceCNIVersion":false,
    "overrideNetworkName":true,"multusMasterCNI":"","daemonSocketDir":"/run/multus"}`,
  'Multus 4.3': `{"chrootDir":"/hostroot","cniVersion":"0.3.1","logLevel":"verbose","logToStderr":true,
    "cniConfigDir":"/host/etc/cni/net.d","multusAutoconfigDir":"/host/etc/cni/net.d","multusConfigFile":"auto",
    "socketDir":"/host/run/multus/"}`,
};
for (const [whose, text] of Object.entries(shipped)) {
  test(`the daemon-config.json of ${whose} is read as it is`, async () => {
    await using directory = await testDirectory();
    const file = join(directory.path, 'daemon-config.json');
    await writeFile(file, text);
    const config = await readDaemonConfig(file);
    assert.equal(config.socket, '/host/run/multus/plexus.sock');
    assert.equal(config.logLevel, 'verbose');
    assert.deepEqual(config.overlay, JSON.parse(text));
    const { log, lines } = keptLog();
    reportUnused(config, log);
    assert.deepEqual(
      lines.filter(({ level }) => level !== 30),
      [],
    );
  });
}

const files: readonly [string, JsonObject, string | undefined][] = [
  ['nothing', {}, undefined],
  ['empty text', { multusConfigFile: '', multusMasterCNI: '' }, undefined],
  ['auto', { multusConfigFile: 'auto' }, 'auto'],
  ['a path', { multusConfigFile: '/etc/plexus.conf' }, '/etc/plexus.conf'],
  ['the default network to wait for', { multusMasterCNI: '10-aws.conflist' }, 'auto'],
  ['the directory of the default network', { multusAutoconfigDir: '/etc/cni/net.d' }, 'auto'],
  ['a directory, and empty text', { multusAutoconfigDir: '/etc/cni/net.d', multusConfigFile: '' }, undefined],
];
for (const [name, overrides, expected] of files) {
  test(`with ${name}, the CNI configuration is made from ${expected ?? 'nothing'}`, async () => {
    assert.equal((await readDaemonConfig(undefined, overrides)).multusConfigFile, expected);
  });
}

test('keys match without regard to case, and null is as good as nothing, as in Go', async () => {
  await using directory = await testDirectory();
  const file = join(directory.path, 'daemon-config.json');
  await writeFile(file, '{"SOCKETDIR":"/run/multus","loglevel":"DEBUG","clusterNetwork":null,"kubeconfig":""}');
  const { socketDir, logLevel, kubeconfig, overlay } = await readDaemonConfig(file);
  assert.deepEqual(
    { socketDir, logLevel, kubeconfig },
    { socketDir: '/run/multus', logLevel: 'debug', kubeconfig: undefined },
  );
  assert.deepEqual(overlay, { socketDir: '/run/multus', logLevel: 'DEBUG', kubeconfig: '' });
});

test('keys that nobody knows are named in one warning, keys that change nothing in one line', async () => {
  await using directory = await testDirectory();
  const file = join(directory.path, 'daemon-config.json');
  await writeFile(file, '{"sockteDir":"/run/multus","color":"blue","enablePprof":true,"cniDir":"/var/lib/cni/multus"}');
  const { log, lines } = keptLog();
  reportUnused(await readDaemonConfig(file), log);
  assert.deepEqual(lines, [
    { level: 40, file, keys: ['sockteDir', 'color'], msg: 'nobody knows these keys of the configuration' },
    {
      level: 30,
      file,
      keys: { cniDir: 'what was attached is in stateDir', enablePprof: 'there is no pprof in Node' },
      msg: 'these keys of the configuration change nothing',
    },
  ]);
});
