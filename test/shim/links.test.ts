import assert from 'node:assert/strict';
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { start } from '../cli/plexus.ts';
import { testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { buildShim } from '../support/shim.ts';
import { callShim } from './shim.ts';

/*
 * The whole path, as on a node: links to the shim in a directory of CNI plugins, the daemon as a process of its own, and
 * the plugins that are built into it.
 */

const timeout = 60_000;

interface Node {
  readonly directory: string;
  readonly sandbox: TestNamespace;
  /** Calls a plugin by its link. @returns What it printed. */
  call(name: string, command: string, config: JsonObject): Promise<JsonObject>;
  /** The sandbox's interfaces and their kinds, and the reserved addresses. */
  state(): Promise<readonly [string[], string[]]>;
}

async function startNode(t: TestContext): Promise<Node> {
  const stack = new AsyncDisposableStack();
  t.after(() => stack.disposeAsync());
  const directory = stack.use(await testDirectory()).path;
  const node = stack.use(await testNamespace());
  const sandbox = stack.use(await testNamespace());
  {
    using netlink = Rtnetlink.open(node.namespace);
    await netlink.run(links.create({ name: 'ens6', kind: { type: 'veth', peer: { name: 'wire' } } }));
  }
  const bin = join(directory, 'bin');
  await mkdir(bin);
  const shim = await buildShim();
  for (const name of ['plexus', 'multus', 'macvlan', 'host-local', 'loopback']) await symlink(shim, join(bin, name));

  const run = join(directory, 'run');
  const options = ['--no-cluster', '--socket-dir', run, '--state-dir', join(directory, 'state'), '--metrics-port', '0'];
  const daemon = start(['daemon', ...options], node.namespace);
  stack.defer(async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    daemon.once('close', () => resolve());
    daemon.kill('SIGTERM');
    await promise;
  });
  const env = {
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: sandbox.path,
    CNI_IFNAME: 'net1',
    CNI_PATH: bin,
    PLEXUS_SOCKET: join(run, 'plexus.sock'),
    // It is not there yet when it is first called.
    PLEXUS_CONNECT_SECONDS: '30',
  };
  return {
    directory,
    sandbox,
    async call(name, command, config) {
      const stdin = JSON.stringify(config);
      const binary = join(bin, name);
      const { status, stdout } = await callShim({ binary, as: binary, env: { ...env, CNI_COMMAND: command }, stdin });
      assert.equal(status, 0, `${name} ${command}: ${stdout}`);
      return stdout.length === 0 ? {} : JSON.parse(stdout.toString());
    },
    async state() {
      using netlink = Rtnetlink.open(sandbox.namespace);
      const [all] = await netlink.run(links.list());
      const reserved = await readdir(join(directory, 'reserved/n1')).catch(() => []);
      return [
        all.flatMap(({ name, kind }) => (kind === undefined ? [] : `${name} ${kind}`)),
        reserved.filter((name) => /^\d+\.\d+/.test(name)),
      ];
    },
  };
}

const macvlan = ({ directory }: Node): JsonObject => ({
  cniVersion: '1.0.0',
  name: 'n1',
  type: 'macvlan',
  master: 'ens6',
  ipam: { type: 'host-local', subnet: '10.9.0.0/24', dataDir: join(directory, 'reserved') },
});

test('a link under the name of an IPAM plugin is that plugin', { timeout }, async (t) => {
  const node = await startNode(t);
  const config = { ...macvlan(node), type: 'other' };
  const { ips } = await node.call('host-local', 'ADD', config);
  assert.deepEqual(ips, [{ address: '10.9.0.2/24', gateway: '10.9.0.1' }]);
  assert.deepEqual(await node.state(), [[], ['10.9.0.2']]);
  await node.call('host-local', 'DEL', config);
  assert.deepEqual(await node.state(), [[], []]);
});

test('a link under the name of a plugin is that plugin, and what it delegates to', { timeout }, async (t) => {
  const node = await startNode(t);
  const prevResult = await node.call('macvlan', 'ADD', macvlan(node));
  assert.deepEqual(await node.state(), [['net1 macvlan'], ['10.9.0.2']]);
  await node.call('macvlan', 'CHECK', { ...macvlan(node), prevResult });
  await node.call('macvlan', 'DEL', { ...macvlan(node), prevResult });
  assert.deepEqual(await node.state(), [[], []]);
  assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
});

for (const name of ['plexus', 'multus']) {
  test(`a link under the name of ${name} attaches to the default network`, { timeout }, async (t) => {
    const node = await startNode(t);
    const file = join(node.directory, 'default.conflist');
    const { cniVersion, ...plugin } = macvlan(node);
    await writeFile(file, JSON.stringify({ cniVersion: cniVersion ?? '', name: 'n1', plugins: [plugin] }));
    const config = { cniVersion: '1.0.0', name: 'meta', type: name, clusterNetwork: file };
    const { ips } = await node.call(name, 'ADD', config);
    assert.deepEqual(ips, [{ interface: 0, address: '10.9.0.2/24', gateway: '10.9.0.1' }]);
    assert.deepEqual(await node.state(), [['net1 macvlan'], ['10.9.0.2']]);
    assert.deepEqual(await readdir(join(node.directory, 'state/journal')), ['c1:net1']);
    for (const command of ['CHECK', 'DEL', 'DEL']) await node.call(name, command, config);
    assert.deepEqual(await node.state(), [[], []]);
    assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
  });
}
