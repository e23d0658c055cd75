import assert from 'node:assert/strict';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { Plugin } from '../../src/cni/plugin.ts';
import { readDaemonConfig } from '../../src/daemon/config.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import { Journal } from '../../src/journal/journal.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { fakePlugin } from '../cni/support.ts';
import { until } from '../kubernetes/playground.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog } from './log.ts';
import { type Node, slowPlugin, startNode } from './node.ts';

const timeout = 30_000;

describe('a daemon that ends', { timeout }, () => {
  test('finishes what is under way, and answers it', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin] });
    const added = node.call({ command: 'ADD' });
    await plugin.began(1);
    const closed = node.daemon.close();
    plugin.open();
    assert.equal((await added).exitStatus, 0);
    await closed;
    await assert.rejects(stat(node.daemon.socket), { code: 'ENOENT' });
    assert.deepEqual(node.lines.at(-1)?.['msg'], 'ended');
  });

  test('gives up what does not end in time, and says so', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin], stopMs: 1 });
    const unanswered = assert.rejects(node.call({ command: 'ADD' }), /expected one answer, found 0 bytes/);
    await plugin.began(1);
    await node.daemon.close();
    await unanswered;
    assert.ok(node.lines.some(({ level, calls }) => level === 50 && calls === 1));
    plugin.open();
  });
});

describe('a daemon that starts', { timeout }, () => {
  test('leaves its directories to nobody else', async () => {
    await using node = await startNode({ plugins: [] });
    const other = {
      cluster: false,
      metricsPort: 0,
      stateDir: join(node.directory, 'state'),
      socketDir: join(node.directory, 'b'),
    };
    const config = await readDaemonConfig(undefined, other);
    await assert.rejects(startDaemon(config, { log: keptLog().log }), {
      message: `stateDir: ${other.stateDir} is in use by process ${process.pid}, another Plexus daemon`,
    });
  });

  test('holds nothing when it cannot start', async () => {
    await using node = await startNode({ plugins: [] });
    await using directory = await testDirectory();
    const own = {
      cluster: false,
      metricsPort: node.daemon.metricsPort,
      stateDir: directory.path,
      socketDir: directory.path,
    };
    const { metricsPort } = node.daemon;
    await assert.rejects(startDaemon(await readDaemonConfig(undefined, own), { log: keptLog().log }), {
      message: `metricsPort: cannot serve /metrics on 127.0.0.1:${metricsPort}: listen EADDRINUSE: address already in use 127.0.0.1:${metricsPort}`,
    });
    const again = await startDaemon(await readDaemonConfig(undefined, { ...own, metricsPort: 0 }), {
      log: keptLog().log,
    });
    await again.close();
  });

  test('outside of a pod and without a kubeconfig says what it needs', async () => {
    await using directory = await testDirectory();
    const config = await readDaemonConfig(undefined, { stateDir: directory.path, socketDir: directory.path });
    await assert.rejects(startDaemon(config, { log: keptLog().log }), { message: /^kubeconfig: expected the path/ });
  });
});

describe('after a daemon that was killed in the midst of an ADD', { timeout }, () => {
  /** What the journal has of an ADD that had come so far. */
  async function leaveEntry(node: Node, sandbox: string, steps: 'planned' | 'added' | 'complete'): Promise<void> {
    const journal = await Journal.open(join(node.directory, 'state/journal'));
    const config = JSON.stringify({ cniVersion: '1.1.0', name: 'default', plugins: [{ type: 'fake' }] });
    await using recording = await journal.begin({
      version: 1,
      containerId: sandbox,
      ifName: 'eth0',
      netns: '/run/netns/plx-gone',
      args: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0',
      pod: { namespace: 'shop', name: 'cart-0', uid: 'u1' },
      attachments: [
        {
          network: 'default',
          ifName: 'eth0',
          isDefault: true,
          config,
          source: 'a test',
          defaultName: 'default',
          runtimeConfig: {},
          cniArgs: {},
        },
      ],
      plannedAt: 0,
    });
    if (steps !== 'planned') await recording.add({ step: 'added', ifName: 'eth0', result: { cniVersion: '1.1.0' } });
    if (steps === 'complete') await recording.add({ step: 'complete' });
  }
  const journalOf = (node: Node): Promise<string[]> => readdir(join(node.directory, 'state/journal'));
  const forgotten = async (node: Node, sandbox: string): Promise<void> => {
    while ((await journalOf(node)).includes(`${sandbox}:eth0`)) await new Promise(setImmediate);
  };

  /** Ends the daemon, leaves entries, starts it again. */
  async function restarted(node: Node, leave: () => Promise<void>, plugins: readonly Plugin[]): Promise<void> {
    await node.daemon.close();
    await leave();
    await node.restart({ plugins });
  }

  test('what it had made is released, and what was complete is not touched', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin] });
    await restarted(node, async () => {
      await leaveEntry(node, 'planned', 'planned');
      await leaveEntry(node, 'added', 'added');
      await leaveEntry(node, 'complete', 'complete');
    }, [plugin]);
    await forgotten(node, 'planned');
    await forgotten(node, 'added');
    assert.deepEqual(await journalOf(node), ['complete:eth0']);
    assert.deepEqual(plugin.calls, ['DEL fake', 'DEL fake']);
    const released = () => node.lines.filter(({ msg }) => msg === 'released what an ADD that never ended had made');
    await until(() => released().length === 2);
    assert.deepEqual(
      released()
        .map(({ containerId, ifName, pod }) => `${containerId} ${ifName} ${pod}`)
        .sort(),
      ['added eth0 shop/cart-0', 'planned eth0 shop/cart-0'],
    );
  });

  test('a call for the same sandbox waits until that is done, and an ADD made since is not touched', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin] });
    await restarted(node, () => leaveEntry(node, 'c1', 'added'), [plugin]);
    await plugin.began(1);
    const added = node.call({ command: 'ADD' });
    plugin.open();
    assert.equal((await added).exitStatus, 0);
    assert.deepEqual(plugin.steps, ['DEL c1 begins', 'DEL c1 ends', 'ADD c1 begins', 'ADD c1 ends']);
    assert.deepEqual(await journalOf(node), ['c1:eth0']);
  });

  test('what cannot be released is told, and left to DEL', async () => {
    const plugin = fakePlugin({ fails: { DEL: new CniError(11, 'busy') } });
    await using node = await startNode({ plugins: [plugin] });
    await restarted(node, () => leaveEntry(node, 'c1', 'added'), [plugin]);
    const told = () => node.lines.find(({ msg }) => `${msg}`.startsWith('an ADD never ended, and could not be undone'));
    await until(() => told() !== undefined);
    assert.deepEqual([told()?.['containerId'], told()?.['code']], ['c1', 11]);
    assert.deepEqual(await journalOf(node), ['c1:eth0']);
    await node.restart({ plugins: [fakePlugin()] });
    await forgotten(node, 'c1');
  });

  test('an entry that cannot be read is told, and harms nobody', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    await restarted(node, () => writeFile(join(node.directory, 'state/journal/c9:eth0'), 'no plan\n'), [fakePlugin()]);
    assert.ok(node.lines.some(({ containerId, level }) => containerId === 'c9' && level === 50));
    assert.equal((await node.call({ command: 'ADD' })).exitStatus, 0);
  });
});

describe('with a cluster', { timeout }, () => {
  test('it is ready once pods and networks are known, and STATUS says so while they cannot be', async () => {
    await using api = await startApi();
    await using directory = await testDirectory();
    const kubeconfig = join(directory.path, 'kubeconfig');
    await writeFile(kubeconfig, api.kubeconfig());
    await using node = await startNode({ plugins: [fakePlugin()] }, { cluster: true, kubeconfig, nodeName: 'node-1' });
    const ready = async (): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${node.daemon.metricsPort}/readyz`);
      return `${response.status} ${await response.text()}`;
    };
    while ((await ready()) !== '200 ok\n') await new Promise(setImmediate);
    assert.deepEqual(await node.call({ command: 'STATUS' }), { exitStatus: 0, stdout: '' });
    await api.close();
    while ((await ready()) === '200 ok\n') await new Promise(setImmediate);
    assert.match(await ready(), /^503 .*ECONNREFUSED/);
    const { exitStatus, stdout } = await node.call({ command: 'STATUS' });
    assert.equal(exitStatus, 1);
    assert.equal(JSON.parse(stdout).code, 50);
    assert.match(JSON.parse(stdout).msg, /^the Kubernetes API cannot be followed: .*ECONNREFUSED/);
    await api.start(api.port);
  });
});
