import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { lockFile } from '../../src/daemon/lock.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { type Node, startNode } from '../attach/node.ts';
import { run, start } from './plexus.ts';

const timeout = 60_000;

/** A node with one pod, on its default network alone, with an address of host-local. */
async function attachedNode(): Promise<Node> {
  const node = await startNode((ipam) => ({
    defaultNetwork: {
      cniVersion: '1.1.0',
      name: 'cluster-net',
      type: 'macvlan',
      master: 'blue0',
      linkInContainer: true,
      ipam: { ...ipam, subnet: '10.244.0.0/24' },
    },
  }));
  using netlink = Rtnetlink.open(node.sandbox.namespace);
  await netlink.run(links.create({ name: 'blue0', kind: { type: 'bridge' }, up: true }));
  await node.add();
  return node;
}

const options = (node: Node): string[] => [
  '--state-dir',
  node.directory,
  '--socket-dir',
  join(node.directory, 'run'),
  '--no-cluster',
];

const gc = (node: Node, ...args: readonly string[]) => run(['gc', ...options(node), ...args]);

/** What is held on disk. */
async function held(node: Node): Promise<string[]> {
  const files = await readdir(node.directory, { recursive: true });
  return files.filter((file) => /^(journal|networks\/.*)\/[^l]/.test(file)).sort();
}

/** What is held for the pod. */
const all = ['journal/sandbox-1:eth0', 'networks/cluster-net/10.244.0.2'];

/** The daemon of the node. */
async function startDaemon(node: Node): Promise<AsyncDisposable> {
  const child = start(['daemon', ...options(node), '--metrics-port', '0']);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.stderr?.on('data', (piece: Buffer) => {
    if (piece.includes('"msg":"ready"')) resolve();
  });
  child.once('close', () => reject(new Error('the daemon ended')));
  await promise;
  return {
    async [Symbol.asyncDispose]() {
      const { promise: closed, resolve: close } = Promise.withResolvers<void>();
      child.once('close', () => close());
      child.kill('SIGTERM');
      await closed;
    },
  };
}

describe('plexus gc', { timeout }, () => {
  test('leaves alone what has a namespace', async () => {
    await using node = await attachedNode();
    const { status, stdout } = await gc(node);
    assert.deepEqual([status, stdout], [0, 'The journal has no sandbox whose namespace is gone.\n']);
    assert.deepEqual(await held(node), all);
  });

  test('tells what it would release, with --dry-run, and changes nothing', async () => {
    await using node = await attachedNode();
    await node.sandbox[Symbol.asyncDispose]();
    await writeFile(join(node.directory, 'networks/cluster-net/10.244.0.9'), 'gone\r\neth0');
    await writeFile(join(node.directory, 'networks/cluster-net/10.244.0.10'), 'printer');
    const before = await readdir(node.directory, { recursive: true });
    const { status, stdout } = await gc(node, '--dry-run');
    assert.equal(status, 0);
    assert.deepEqual(
      stdout
        .replace(/DIRECTORY +KEPT/, 'DIRECTORY KEPT')
        .replaceAll(node.directory, 'DIR')
        .split('\n'),
      [
        'POD           CONTAINER   NETWORKS      STATE',
        'default/app   sandbox-1   cluster-net   stale',
        '',
        'Addresses of nobody that the journal knows; they are left alone:',
        'ADDRESS       DIRECTORY KEPT FOR',
        '10.244.0.9    DIR/networks/cluster-net   container gone, interface eth0',
        '10.244.0.10   DIR/networks/cluster-net   printer',
        '',
      ],
    );
    assert.deepEqual(await readdir(node.directory, { recursive: true }), before);
  });

  test('releases it in the place of the daemon, where none runs', async () => {
    await using node = await attachedNode();
    await node.sandbox[Symbol.asyncDispose]();
    await writeFile(join(node.directory, 'networks/cluster-net/10.244.0.9'), 'gone\r\neth0');
    const { status, stdout, stderr } = await gc(node, '-o', 'json');
    assert.equal(status, 0, stdout + stderr);
    assert.deepEqual(JSON.parse(stdout), {
      apiVersion: 'plexus/v1',
      kind: 'StaleSandboxList',
      items: [
        {
          pod: 'default/app',
          containerId: 'sandbox-1',
          interface: 'eth0',
          netns: node.sandbox.path,
          networks: ['cluster-net'],
          state: 'released',
        },
      ],
      addresses: [
        {
          address: '10.244.0.9',
          directory: join(node.directory, 'networks/cluster-net'),
          owner: 'container gone, interface eth0',
        },
      ],
      unreadable: [],
    });
    assert.deepEqual(await held(node), ['networks/cluster-net/10.244.0.9']);
  });

  test('asks the daemon to release it, where one runs', async () => {
    await using node = await attachedNode();
    await node.sandbox[Symbol.asyncDispose]();
    await using _ = await startDaemon(node);
    const { status, stdout, stderr } = await gc(node);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^default\/app +sandbox-1 +cluster-net +released$/m);
    assert.deepEqual(await held(node), []);
  });

  test('does nothing beside a daemon that does not answer', async () => {
    await using node = await attachedNode();
    await node.sandbox[Symbol.asyncDispose]();
    await using _ = await lockFile(join(node.directory, 'daemon.lock'), 'the test');
    const { status, stdout } = await gc(node);
    assert.equal(status, 1);
    assert.match(stdout, /^default\/app +sandbox-1 +cluster-net +held$/m);
    assert.match(stdout, /^HELD {2}default\/app: connect ENOENT .*plexus\.sock$/m);
    assert.deepEqual(await held(node), all);
  });

  test('tells what is still held, and what cannot be read', async () => {
    await using node = await attachedNode();
    await node.sandbox[Symbol.asyncDispose]();
    const file = join(node.directory, 'journal/sandbox-1:eth0');
    await writeFile(file, (await readFile(file, 'utf8')).replaceAll('\\"macvlan\\"', '\\"nosuch\\"'));
    await writeFile(join(node.directory, 'journal/sandbox-9:eth0'), 'x\n');
    await mkdir(join(node.directory, 'run'));
    const { status, stdout } = await gc(node);
    assert.equal(status, 1);
    const remarks = stdout.split('\n').filter((line) => line.startsWith('HELD'));
    assert.match(
      remarks[0] ?? '',
      /^HELD {2}default\/app: still held: network cluster-net, interface eth0: .*"nosuch"/,
    );
    assert.match(remarks[1] ?? '', /^HELD {2}journal entry .*sandbox-9:eth0 cannot be read: line 1 is no JSON/);
    assert.equal(remarks.length, 2);
  });
});
