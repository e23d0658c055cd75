import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parseSettings } from '../../src/attach/settings.ts';
import { CniError } from '../../src/cni/error.ts';
import { readDaemonConfig } from '../../src/daemon/config.ts';
import { createLog } from '../../src/daemon/log.ts';
import { fakePlugin } from '../cni/support.ts';
import { until } from '../kubernetes/playground.ts';
import { testDirectory } from '../support/directory.ts';
import { securedApi } from '../support/secured-api.ts';
import {
  added,
  bothPlaces,
  conflist,
  daemonOnly,
  multusKeys,
  networksInCluster,
  networksOf,
  nodeWith,
  type Place,
  readiness,
  type SetIn,
  script,
  setIn,
  written,
} from './multus-keys.ts';
import { slowPlugin, startNode } from './node.ts';

const run = promisify(execFile);

/** One key of Multus: what it does, as the page of its documentation says, seen to happen. */
interface Row {
  readonly key: string;
  readonly page: 'configuration' | 'how-to-use' | 'thick-plugin' | 'metrics';
  readonly what: string;
  /** With the key in the CNI configuration, then in daemon-config.json, unless one of them is all that Multus reads it in. */
  readonly places?: readonly Place[];
  readonly observe: (set: SetIn) => Promise<void>;
}

const rows: readonly Row[] = [
  {
    key: 'cniVersion',
    page: 'configuration',
    what: 'results have this version',
    async observe(set) {
      const keys = set({ cniVersion: '0.4.0' });
      await using node = await nodeWith(keys);
      assert.equal((await added(node, keys))['cniVersion'], '0.4.0');
    },
  },
  {
    key: 'name',
    page: 'configuration',
    what: 'the network has this name, also in what the daemon writes',
    places: daemonOnly,
    async observe() {
      assert.equal((await written({ name: 'multus-cni-network' }))['name'], 'multus-cni-network');
    },
  },
  {
    key: 'type',
    page: 'configuration',
    what: 'multus and multus-shim are answered as plexus is, and told of by no warning',
    async observe(set) {
      for (const type of ['multus', 'multus-shim']) {
        const keys = set({ type });
        await using node = await nodeWith(keys);
        await added(node, keys);
        assert.deepEqual(
          node.lines.filter(({ level }) => level === 40),
          [],
        );
      }
    },
  },
  {
    key: 'capabilities',
    page: 'configuration',
    what: 'what the runtime passes for them reaches the plugins of the default network that declare them',
    async observe(set) {
      const keys = set({ capabilities: { portMappings: true } });
      const plugin = fakePlugin();
      await using node = await nodeWith(keys, plugin);
      const file = join(node.directory, 'net.d/10-default.conflist');
      const portMappings = [{ hostPort: 80, containerPort: 80, protocol: 'tcp' }];
      await writeFile(file, '{"name":"default","type":"fake","capabilities":{"portMappings":true}}');
      await added(node, keys, { runtimeConfig: { portMappings } });
      assert.deepEqual(plugin.configs[0]?.['runtimeConfig'], { portMappings });
    },
  },
  {
    key: 'kubeconfig',
    page: 'configuration',
    what: 'the API server is reached by it',
    places: daemonOnly,
    async observe(set) {
      assert.deepEqual(await networksInCluster(set({}), 'shop', 'own'), ['default', 'own']);
    },
  },
  {
    key: 'confDir',
    page: 'configuration',
    what: 'a configuration of a name is looked for there',
    async observe(set) {
      await using directory = await testDirectory();
      await writeFile(join(directory.path, '20-other.conflist'), conflist('other'));
      const keys = set({ confDir: directory.path, clusterNetwork: 'other' });
      const plugin = fakePlugin();
      await using node = await nodeWith(keys, plugin);
      await added(node, keys);
      assert.deepEqual(networksOf(plugin), ['other']);
    },
  },
  {
    key: 'cniDir',
    page: 'configuration',
    what: 'is taken, and nothing is written there: the journal is in stateDir',
    async observe(set) {
      await using directory = await testDirectory();
      const keys = set({ cniDir: join(directory.path, 'multus') });
      await using node = await nodeWith(keys);
      await added(node, keys);
      assert.deepEqual(await readdir(directory.path), []);
      assert.deepEqual(await readdir(join(node.directory, 'state/journal')), ['c1:eth0']);
    },
  },
  {
    key: 'binDir',
    page: 'configuration',
    what: 'plugins are executed from there, before CNI_PATH',
    async observe(set) {
      await using directory = await testDirectory();
      for (const [name, address] of Object.entries({ own: '10.0.0.1/8', runtime: '10.0.0.2/8' })) {
        await mkdir(join(directory.path, name));
        await writeFile(join(directory.path, name, 'external'), script(address), { mode: 0o755 });
      }
      const keys = set({ binDir: join(directory.path, 'own') });
      // The test's node has a binDir of its own in the place of the daemon's.
      await using node = await startNode({ plugins: [] }, { binDir: undefined, ...keys.daemon }, 'external');
      const env = { CNI_PATH: join(directory.path, 'runtime') };
      const { stdout } = await node.call({ command: 'ADD', env, config: keys.runtime });
      assert.deepEqual(JSON.parse(stdout).ips, [{ address: '10.0.0.1/8' }]);
    },
  },
  {
    key: 'clusterNetwork',
    page: 'configuration',
    what: 'every pod gets it first: a NetworkAttachmentDefinition, else a name in confDir, a directory or a file',
    async observe(set) {
      await using directory = await testDirectory();
      const file = join(directory.path, '10-file.conflist');
      await writeFile(file, conflist('of-a-file'));
      await writeFile(join(directory.path, '20-side.conflist'), conflist('side'));
      const got = (clusterNetwork: string) =>
        networksInCluster(set({ clusterNetwork, confDir: directory.path }), 'shop');
      assert.deepEqual(await got('side'), ['side-of-kube-system']);
      assert.deepEqual(await got('of-a-file'), ['of-a-file']);
      assert.deepEqual(await got(directory.path), ['of-a-file']);
      assert.deepEqual(await got(file), ['of-a-file']);
    },
  },
  {
    key: 'defaultNetworks',
    page: 'configuration',
    what: 'every pod gets them next',
    async observe(set) {
      const keys = set({ defaultNetworks: ['side'] });
      assert.deepEqual(await networksInCluster(keys, 'shop', 'own'), ['default', 'side-of-kube-system', 'own']);
    },
  },
  {
    key: 'systemNamespaces',
    page: 'configuration',
    what: 'pods of these namespaces go without defaultNetworks; kube-system unless told',
    async observe(set) {
      assert.deepEqual(await networksInCluster(set({ defaultNetworks: ['side'] }), 'kube-system'), ['default']);
      const keys = set({ defaultNetworks: ['side'], systemNamespaces: ['shop', 'admin'] });
      assert.deepEqual(await networksInCluster(keys, 'shop'), ['default']);
      assert.deepEqual(await networksInCluster(keys, 'kube-system'), ['default', 'side-of-kube-system']);
    },
  },
  {
    key: 'multusNamespace',
    page: 'configuration',
    what: 'clusterNetwork and defaultNetworks are looked for there',
    async observe(set) {
      const keys = set({ clusterNetwork: 'side', multusNamespace: 'other' });
      assert.deepEqual(await networksInCluster(keys, 'shop'), ['side-of-other']);
    },
  },
  {
    key: 'delegates',
    page: 'configuration',
    what: 'every pod gets these, the first as its default network, unless clusterNetwork is given',
    async observe(set) {
      const delegates = ['a', 'b'].map((name) => ({ cniVersion: '1.1.0', name, type: 'fake' }));
      const keys = set({ delegates });
      const plugin = fakePlugin();
      await using node = await nodeWith(keys, plugin);
      await added(node, keys, { clusterNetwork: '' });
      assert.deepEqual(networksOf(plugin), ['a', 'b']);
      await node.call({ command: 'ADD', sandbox: 'c2', config: keys.runtime });
      assert.deepEqual(networksOf(plugin), ['a', 'b', 'default']);
    },
  },
  {
    key: 'readinessindicatorfile',
    page: 'configuration',
    what: 'the default network is ready once it is there',
    async observe(set) {
      await using directory = await testDirectory();
      const file = join(directory.path, 'ready');
      const keys = set({ readinessindicatorfile: file });
      await using node = await nodeWith(keys);
      const { stdout } = await node.call({ command: 'STATUS', config: keys.runtime });
      assert.equal(JSON.parse(stdout).code, 50);
      const adding = node.call({ command: 'ADD', config: keys.runtime });
      await writeFile(file, '');
      assert.equal((await adding).exitStatus, 0);
      assert.equal((await node.call({ command: 'STATUS', config: keys.runtime })).exitStatus, 0);
    },
  },
  {
    key: 'namespaceIsolation',
    page: 'configuration',
    what: 'a pod may not use networks of other namespaces; it may unless told',
    async observe(set) {
      assert.deepEqual(await networksInCluster(set({}), 'shop', 'other/side'), ['default', 'side-of-other']);
      const isolated = set({ namespaceIsolation: true });
      await assert.rejects(networksInCluster(isolated, 'shop', 'other/side'), /other/);
      assert.deepEqual(await networksInCluster(isolated, 'shop', 'own'), ['default', 'own']);
    },
  },
  {
    key: 'globalNamespaces',
    page: 'configuration',
    what: 'networks of these namespaces are for all pods',
    async observe(set) {
      const keys = set({ namespaceIsolation: true, globalNamespaces: 'default, other' });
      assert.deepEqual(await networksInCluster(keys, 'shop', 'other/side'), ['default', 'side-of-other']);
      await assert.rejects(networksInCluster(keys, 'shop', 'kube-system/side'), /kube-system/);
    },
  },
  {
    key: 'retryDeleteOnError',
    page: 'configuration',
    what: 'what a DEL could not release is kept for the next one, with it and without',
    async observe(set) {
      for (const retryDeleteOnError of [true, false]) {
        const fails: Record<string, Error> = { DEL: new CniError(11, 'busy') };
        const keys = set({ retryDeleteOnError });
        await using node = await nodeWith(keys, fakePlugin({ fails }));
        await added(node, keys);
        assert.equal((await node.call({ command: 'DEL', config: keys.runtime })).exitStatus, 1);
        assert.deepEqual(await readdir(join(node.directory, 'state/journal')), ['c1:eth0']);
        delete fails['DEL'];
        assert.equal((await node.call({ command: 'DEL', config: keys.runtime })).exitStatus, 0);
        assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
      }
    },
  },
  {
    key: 'auxiliaryCNIChainName',
    page: 'configuration',
    what: 'every pod goes through the plugins of that directory last of all; STATUS and GC ask them as well',
    async observe(set) {
      const keys = set({ auxiliaryCNIChainName: 'vendor-cni-chain' });
      const plugin = fakePlugin();
      await using node = await nodeWith(keys, plugin);
      const directory = join(node.directory, 'net.d/vendor-cni-chain');
      await mkdir(directory);
      await writeFile(join(directory, '10-vendor.conf'), '{"cniVersion":"0.3.1","name":"vendor","type":"fake"}');
      await added(node, keys);
      await node.call({ command: 'DEL', config: keys.runtime });
      await node.call({ command: 'STATUS', config: keys.runtime });
      await node.call({ command: 'GC', config: { ...keys.runtime, 'cni.dev/valid-attachments': [] } });
      const seen = plugin.calls.map((call, index) => `${call.replace(' fake', '')} ${plugin.configs[index]?.name}`);
      const order = ['ADD default', 'ADD vendor-cni-chain', 'DEL vendor-cni-chain', 'DEL default'];
      const asked = ['STATUS default', 'STATUS vendor-cni-chain', 'GC default', 'GC vendor-cni-chain'];
      assert.deepEqual(seen, [...order, ...asked]);
    },
  },
  {
    key: 'logFile',
    page: 'thick-plugin',
    what: 'the log goes there',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      const file = join(directory.path, 'logs/multus.log');
      const { log, settled } = await createLog(await readDaemonConfig(undefined, { logFile: file }));
      log.info('to the file');
      await settled();
      assert.match(await readFile(file, 'utf8'), /to the file/);
    },
  },
  {
    key: 'logLevel',
    page: 'thick-plugin',
    what: 'lines below it are not written',
    places: daemonOnly,
    async observe() {
      const levels: readonly [string, RegExp][] = [
        ['debug', /debug.*info.*error.*fatal/s],
        ['verbose', /^(?!.*"debug").*info.*error.*fatal/s],
        ['error', /^(?!.*"info").*error.*fatal/s],
        ['panic', /^(?!.*"error").*fatal/s],
      ];
      await using directory = await testDirectory();
      for (const [logLevel, expected] of levels) {
        const file = join(directory.path, logLevel);
        const { log, settled } = await createLog(await readDaemonConfig(undefined, { logFile: file, logLevel }));
        for (const level of ['debug', 'info', 'error', 'fatal'] as const) log[level]({ word: level }, 'a line');
        await settled();
        assert.match(await readFile(file, 'utf8'), expected);
      }
    },
  },
  {
    key: 'logToStderr',
    page: 'thick-plugin',
    what: 'the log goes to standard error as well',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      for (const logToStderr of [true, false]) {
        const config = JSON.stringify({ logFile: join(directory.path, 'multus.log'), logToStderr });
        const program =
          `import { createLog } from '${import.meta.resolve('../../src/daemon/log.ts')}';` +
          `import { readDaemonConfig } from '${import.meta.resolve('../../src/daemon/config.ts')}';` +
          `const { log, settled } = await createLog(await readDaemonConfig(undefined, ${config}));` +
          "log.info('to both'); await settled();";
        const { stderr } = await run(process.execPath, ['--input-type=module', '--eval', program]);
        assert.equal(stderr.includes('to both'), logToStderr);
      }
      assert.equal((await readFile(join(directory.path, 'multus.log'), 'utf8')).match(/to both/g)?.length, 2);
    },
  },
  {
    key: 'logOptions',
    page: 'configuration',
    what: 'a log file of maxSize MiB becomes a backup, of which maxBackups are kept, compressed',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      const logOptions = { maxAge: 1, maxSize: 1, maxBackups: 2, compress: true };
      const config = await readDaemonConfig(undefined, { logFile: join(directory.path, 'multus.log'), logOptions });
      const { log, settled } = await createLog(config);
      for (let mebibyte = 0; mebibyte < 4; mebibyte++) {
        log.info('x'.repeat(1 << 20));
        await settled();
      }
      const names = (await readdir(directory.path)).sort();
      assert.equal(names.filter((name) => /^multus-.*\.log\.gz$/.test(name)).length, 2, names.join());
      assert.equal(names.length, 3);
    },
  },
  {
    key: 'chrootDir',
    page: 'thick-plugin',
    what: 'plugins that are executed see it as their root',
    places: daemonOnly,
    async observe(set) {
      await using directory = await testDirectory();
      const at = (name: string): string => join(directory.path, name);
      await mkdir(at('host/opt/bin'), { recursive: true });
      await writeFile(at('host/marker'), 'the.host');
      await writeFile(
        at('probe.c'),
        '#include <stdio.h>\nint main(void) { char text[64] = ""; FILE *f = fopen("/marker", "r"); if (f == NULL) return 1;' +
          'if (fgets(text, sizeof(text), f)) printf("{\\"cniVersion\\":\\"1.1.0\\",\\"dns\\":{\\"domain\\":\\"%s\\"}}", text);' +
          'return 0; }\n',
      );
      await run('cc', ['-static', '-o', at('host/opt/bin/probe'), at('probe.c')]);
      const keys = set({ chrootDir: at('host'), binDir: '/opt/bin' });
      await using node = await startNode({ plugins: [] }, keys.daemon, 'probe');
      assert.deepEqual((await added(node, keys))['dns'], { domain: 'the.host' });
    },
  },
  {
    key: 'socketDir',
    page: 'thick-plugin',
    what: 'the socket is there, and the shim is told',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      const socketDir = join(directory.path, 'multus');
      await using node = await startNode({ plugins: [] }, { socketDir, multusConfigFile: 'auto' });
      assert.equal(node.daemon.socket, join(socketDir, 'plexus.sock'));
      const text = await readFile(join(node.directory, 'net.d/00-plexus.conflist'), 'utf8');
      assert.equal(JSON.parse(text).plugins[0].socketDir, socketDir);
    },
  },
  {
    key: 'daemonSocketDir',
    page: 'thick-plugin',
    what: 'the shim is told this one',
    places: daemonOnly,
    async observe() {
      const { plugins } = await written({ daemonSocketDir: '/run/multus/socket' });
      assert.match(JSON.stringify(plugins), /"socketDir":"\/run\/multus\/socket"/);
    },
  },
  {
    key: 'metricsPort',
    page: 'metrics',
    what: 'metrics are served there',
    places: daemonOnly,
    async observe(set) {
      await using first = await nodeWith(set({}));
      const { metricsPort } = first.daemon;
      await first.daemon.close();
      await using node = await nodeWith(set({ metricsPort }));
      const response = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
      assert.match(await response.text(), /^process_resident_memory_bytes/m);
      assert.equal(node.daemon.metricsPort, metricsPort);
    },
  },
  {
    key: 'connectionLimit',
    page: 'thick-plugin',
    what: 'so many calls are worked on at a time',
    places: daemonOnly,
    async observe() {
      const plugin = slowPlugin();
      await using node = await startNode({ plugins: [plugin] }, { connectionLimit: 1 });
      const calls = ['c1', 'c2'].map((sandbox) => node.call({ command: 'ADD', sandbox }));
      await plugin.began(1);
      plugin.open();
      await Promise.all(calls);
      assert.deepEqual(
        plugin.steps.map((step) => step.split(' ').at(-1)),
        ['begins', 'ends', 'begins', 'ends'],
      );
    },
  },
  {
    key: 'perNodeCertificate',
    page: 'thick-plugin',
    what: 'a client certificate is asked for with bootstrapKubeconfig, kept in certDir, and used',
    places: daemonOnly,
    async observe(set) {
      await using server = await securedApi();
      const certDir = join(server.directory, 'certs');
      const perNodeCertificate = { enabled: true, bootstrapKubeconfig: server.kubeconfig, certDir, certDuration: '1h' };
      const { daemon } = set({ perNodeCertificate, cluster: true, nodeName: 'node-1' });
      await using node = await startNode({ plugins: [] }, daemon);
      await until(() => server.requests().length === 1);
      await server.signer.sign(server.api, server.requests()[0] ?? '');
      await until(async () => (await readiness(node)) === '200 ok\n');
      assert.deepEqual(await readdir(certDir), ['multus-client-current.pem']);
      assert.ok([...server.clients.values()].includes('system:multus:node-1'));
    },
  },
  {
    key: 'multusConfigFile',
    page: 'thick-plugin',
    what: 'auto writes the CNI configuration in front of the first one, a path copies that file',
    places: daemonOnly,
    async observe() {
      const { plugins } = await written({ multusConfigFile: 'auto' });
      assert.match(JSON.stringify(plugins), /"clusterNetwork":"[^"]*\/net\.d\/10-default\.conflist"/);
      await using directory = await testDirectory();
      const own = join(directory.path, '00-multus.conf');
      await writeFile(own, '{"cniVersion":"1.1.0","name":"own","type":"multus"}');
      await using node = await startNode({ plugins: [] }, { multusConfigFile: own });
      assert.equal(await readFile(join(node.directory, 'net.d/00-multus.conf'), 'utf8'), await readFile(own, 'utf8'));
    },
  },
  {
    key: 'multusMasterCNI',
    page: 'thick-plugin',
    what: 'this file is the default network, and is waited for',
    places: daemonOnly,
    async observe() {
      await using node = await startNode({ plugins: [] }, { multusMasterCNI: '99-master.conflist' });
      assert.match(await readiness(node), /^503 multusMasterCNI: .*99-master\.conflist is not there/);
      const directory = join(node.directory, 'net.d');
      await writeFile(join(node.directory, 'new'), conflist('master'));
      await rename(join(node.directory, 'new'), join(directory, '99-master.conflist'));
      await until(async () => (await readiness(node)) === '200 ok\n');
      assert.match(await readFile(join(directory, '00-plexus.conflist'), 'utf8'), /99-master\.conflist/);
    },
  },
  {
    key: 'multusAutoconfigDir',
    page: 'thick-plugin',
    what: 'the default network is looked for there instead of cniConfigDir',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      await writeFile(join(directory.path, '50-other.conflist'), conflist('other'));
      const { plugins } = await written({ multusAutoconfigDir: directory.path });
      assert.ok(JSON.stringify(plugins).includes(`"clusterNetwork":"${directory.path}/50-other.conflist"`));
    },
  },
  {
    key: 'cniConfigDir',
    page: 'thick-plugin',
    what: 'the CNI configuration is written there',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      await writeFile(join(directory.path, '10-default.conflist'), conflist('default'));
      await using _node = await startNode({ plugins: [] }, { multusConfigFile: 'auto', cniConfigDir: directory.path });
      assert.deepEqual((await readdir(directory.path)).sort(), ['00-plexus.conflist', '10-default.conflist']);
    },
  },
  {
    key: 'forceCNIVersion',
    page: 'thick-plugin',
    what: 'what is written has cniVersion although the default network is older than CHECK',
    places: daemonOnly,
    async observe() {
      await using directory = await testDirectory();
      const old = { cniVersion: '0.3.1', name: 'old', plugins: [{ type: 'fake' }] };
      await writeFile(join(directory.path, '10-old.conflist'), JSON.stringify(old));
      const keys = { multusAutoconfigDir: directory.path, cniVersion: '1.0.0' };
      assert.equal((await written({ ...keys, forceCNIVersion: true }))['cniVersion'], '1.0.0');
      await using node = await startNode({ plugins: [] }, { multusConfigFile: 'auto', ...keys });
      assert.match(await readiness(node), /^503 cniVersion 1\.0\.0 has CHECK.*forceCNIVersion/);
    },
  },
  {
    key: 'overrideNetworkName',
    page: 'thick-plugin',
    what: 'what is written has the name of the default network',
    places: daemonOnly,
    async observe() {
      assert.equal((await written({ overrideNetworkName: true, name: 'given' }))['name'], 'default');
      assert.equal((await written({ overrideNetworkName: false, name: 'given' }))['name'], 'given');
    },
  },
  {
    key: 'enablePprof',
    page: 'thick-plugin',
    what: 'is taken, and told to change nothing',
    places: daemonOnly,
    async observe(set) {
      await using node = await nodeWith(set({ enablePprof: true }));
      assert.ok(node.lines.some(({ level, keys }) => level === 30 && JSON.stringify(keys)?.includes('enablePprof')));
    },
  },
];

for (const { key, page, what, places = bothPlaces, observe } of rows) {
  for (const place of places) {
    test(`${key} in ${place} (Multus ${page}): ${what}`, { timeout: 60_000 }, () => observe(setIn[place]));
  }
}

test('each key of Multus is in the table', () => {
  assert.deepEqual(
    rows.map(({ key }) => key),
    multusKeys,
  );
});

test('what is not given is as in Multus', async () => {
  const settings = parseSettings({ clusterNetwork: 'a' }, 'the test');
  assert.partialDeepStrictEqual(settings, {
    confDir: '/etc/cni/multus/net.d',
    binDir: '/opt/cni/bin',
    cniConfigDir: '/etc/cni/net.d',
    defaultNetworks: [],
    systemNamespaces: ['kube-system'],
    multusNamespace: 'kube-system',
    namespaceIsolation: false,
    globalNamespaces: 'default',
  });
  for (const key of ['readinessindicatorfile', 'auxiliaryCNIChainName']) assert.ok(!(key in settings), key);
  const perNodeCertificate = { enabled: true, bootstrapKubeconfig: '/kubeconfig', certDir: '/certs' };
  const daemon = await readDaemonConfig(undefined, { perNodeCertificate });
  assert.partialDeepStrictEqual(daemon, {
    logToStderr: false,
    logOptions: { maxAge: 5, maxSize: 100, maxBackups: 5, compress: true },
    forceCNIVersion: false,
    overrideNetworkName: false,
    perNodeCertificate: { seconds: 600 },
  });
  for (const key of ['logFile', 'chrootDir', 'connectionLimit', 'multusMasterCNI']) assert.ok(!(key in daemon), key);
  assert.equal((await readDaemonConfig(undefined)).perNodeCertificate, undefined);
});
