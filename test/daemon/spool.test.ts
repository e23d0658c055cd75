import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CniError, ErrorCode } from '../../src/cni/error.ts';
import type { Plugin } from '../../src/cni/plugin.ts';
import { emptyResult } from '../../src/cni/result.ts';
import { cniVersions } from '../../src/cni/version.ts';
import { encodeRequest } from '../../src/daemon/client.ts';
import { SpoolDirectory } from '../../src/daemon/spool/directory.ts';
import { Replay } from '../../src/daemon/spool/replay.ts';
import { until } from '../kubernetes/playground.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog } from './log.ts';
import { type Node, slowPlugin, startNode } from './node.ts';

const timeout = 30_000;

const metaConfig = JSON.stringify({ cniVersion: '1.1.0', name: 'plexus', type: 'plexus', clusterNetwork: 'default' });

interface Left {
  readonly sandbox?: string;
  readonly plugin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

function frameOf({ sandbox = 'c1', plugin = 'plexus', env = {}, stdin = metaConfig }: Left): Buffer {
  const variables = {
    CNI_COMMAND: 'DEL',
    CNI_CONTAINERID: sandbox,
    CNI_NETNS: `/run/netns/plx-none-${sandbox}`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/nowhere',
    ...env,
  };
  return encodeRequest({ name: plugin, env: variables, stdin });
}

/** Leaves a DEL as the shim does. */
async function leave(spool: string, left: Left = {}, bytes: Uint8Array = frameOf(left)): Promise<string> {
  const name = `${left.plugin ?? 'plexus'}:${left.sandbox ?? 'c1'}:eth0:0123456789abcdef`;
  await writeFile(join(spool, '.unfinished-1-1'), bytes, { mode: 0o600 });
  await rename(join(spool, '.unfinished-1-1'), join(spool, name));
  return name;
}

const spoolOf = ({ directory }: Node): string => join(directory, 'state/spool');
const isEmpty = (node: Node) => until(async () => (await readdir(spoolOf(node))).length === 0);

/** A plugin that writes down what it is called with; DEL fails as often as told. */
function recordingPlugin(failures = 0, type = 'fake') {
  const calls: string[] = [];
  let left = failures;
  const record = (command: string, containerId: string, netns: string) =>
    calls.push(`${command} ${containerId} ${netns}`);
  const plugin: Plugin = {
    type,
    versions: cniVersions,
    async add({ attachment: { containerId, netns, ifName } }) {
      record('ADD', containerId, netns);
      return { ...emptyResult, interfaces: [{ name: ifName }] };
    },
    async delete({ attachment: { containerId, netns } }) {
      if (left-- > 0) throw new CniError(ErrorCode.InvalidNetworkConfig, 'not now');
      record('DEL', containerId, netns);
    },
    async check() {},
  };
  return { plugin, calls };
}

describe('requests that the shim left', { timeout }, () => {
  test('are carried out when the daemon is back, and released is what the sandbox held', async () => {
    const { plugin, calls } = recordingPlugin();
    await using node = await startNode({ plugins: [plugin] });
    assert.equal((await node.call({ command: 'ADD' })).exitStatus, 0);
    await node.restart({ plugins: [plugin] }, () => leave(spoolOf(node)).then(() => {}));
    await isEmpty(node);
    assert.deepEqual(calls, ['ADD c1 /run/netns/plx-none-c1', 'DEL c1 /run/netns/plx-none-c1']);
    assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
    await until(() => node.lines.some(({ msg }) => msg === 'carried out what was left while there was no daemon'));
  });

  test('are carried out while the daemon runs: it was only too slow for the shim', async () => {
    const { plugin, calls } = recordingPlugin();
    await using node = await startNode({ plugins: [plugin] });
    await leave(spoolOf(node));
    await isEmpty(node);
    assert.deepEqual(calls, ['DEL c1 /run/netns/plx-none-c1']);
  });

  test("of a single plugin are that plugin's", async () => {
    const { plugin, calls } = recordingPlugin();
    const alone = recordingPlugin(0, 'alone');
    await using node = await startNode({ plugins: [plugin, alone.plugin] });
    await leave(spoolOf(node), { plugin: 'alone', stdin: '{"cniVersion":"1.0.0","name":"n","type":"alone"}' });
    await isEmpty(node);
    assert.deepEqual([calls, alone.calls], [[], ['DEL c1 /run/netns/plx-none-c1']]);
  });

  test('name no namespace by a process: its number may be another one by then', async () => {
    const { plugin, calls } = recordingPlugin();
    await using node = await startNode({ plugins: [plugin] });
    await leave(spoolOf(node), { env: { CNI_NETNS: `/proc/${process.pid}/ns/net` } });
    await isEmpty(node);
    assert.deepEqual(calls, ['DEL c1 ']);
  });

  test('come before an ADD of their sandbox, which they would undo otherwise', async () => {
    const { plugin, calls } = recordingPlugin();
    await using node = await startNode({ plugins: [plugin] });
    await leave(spoolOf(node));
    assert.equal((await node.call({ command: 'ADD' })).exitStatus, 0);
    assert.deepEqual(calls, ['DEL c1 /run/netns/plx-none-c1', 'ADD c1 /run/netns/plx-none-c1']);
    assert.deepEqual(await readdir(spoolOf(node)), []);
  });

  test('come before an ADD of another sandbox of their pod, and keep no other pod waiting', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin] });
    const env = { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0' };
    await leave(spoolOf(node), { env });
    await plugin.began(1);
    const same = node.call({ command: 'ADD', sandbox: 'c2', env });
    const other = node.call({ command: 'ADD', sandbox: 'c3' });
    await plugin.began(2);
    plugin.open();
    assert.deepEqual(
      (await Promise.all([same, other])).map(({ exitStatus }) => exitStatus),
      [0, 0],
    );
    const begun = plugin.steps.filter((step) => step.endsWith('begins'));
    assert.deepEqual(begun, ['DEL c1 begins', 'ADD c3 begins', 'ADD c2 begins']);
  });

  test('that fail keep an ADD of their sandbox waiting, and are tried again', async () => {
    const { plugin, calls } = recordingPlugin(2);
    await using node = await startNode({ plugins: [plugin] });
    await leave(spoolOf(node));
    await until(() => node.lines.some(({ msg }) => /^what was left for the daemon failed/.test(String(msg))));
    const refused = await node.call({ command: 'ADD' });
    assert.equal(refused.exitStatus, 1);
    const { code, msg } = JSON.parse(refused.stdout);
    assert.equal(code, 11);
    assert.match(msg, /^container c1, interface eth0: an earlier DEL, .* comes first: .*not now$/);
    await isEmpty(node);
    assert.deepEqual(calls, ['DEL c1 /run/netns/plx-none-c1']);
    assert.equal((await node.call({ command: 'ADD' })).exitStatus, 0);
  });

  test('are counted while they wait', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin] });
    await leave(spoolOf(node));
    await leave(spoolOf(node), { sandbox: 'c2' });
    await plugin.began(2);
    const metric = async () => {
      const page = await fetch(`http://127.0.0.1:${node.daemon.metricsPort}/metrics`).then((got) => got.text());
      return page.split('\n').filter((line) => line.startsWith('plexus_spooled_requests'));
    };
    assert.deepEqual(await metric(), [
      'plexus_spooled_requests{command="ADD"} 0',
      'plexus_spooled_requests{command="DEL"} 2',
    ]);
    plugin.open();
    await isEmpty(node);
    await until(async () => (await metric()).includes('plexus_spooled_requests{command="DEL"} 0'));
  });

  test('do not keep a daemon from ending, and wait for the next one', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin], stopMs: 1 });
    await leave(spoolOf(node));
    await plugin.began(1);
    const { plugin: next, calls } = recordingPlugin();
    await node.restart({ plugins: [next] });
    await isEmpty(node);
    assert.deepEqual(calls, ['DEL c1 /run/netns/plx-none-c1']);
    plugin.open();
  });
});

describe('what makes no sense is set aside and told', { timeout }, () => {
  const frame = frameOf({});
  for (const [name, bytes, why] of [
    ['an empty file', Buffer.alloc(0), /the request ends after 0 bytes, in its midst/],
    ['half a frame', frame.subarray(0, frame.length - 7), /ends after \d+ bytes, in its midst/],
    ['more than a frame', Buffer.concat([frame, Buffer.alloc(3)]), /is followed by 3 bytes/],
    ['no frame', Buffer.alloc(100), /begins with the bytes 00000000/],
    [
      "another sandbox's",
      frameOf({ sandbox: 'c2' }),
      /the request is "plexus DEL c2 eth0", and by its name "plexus DEL c1 eth0"/,
    ],
    ['another command', frameOf({ env: { CNI_COMMAND: 'ADD' } }), /the request is "plexus ADD c1 eth0"/],
    ['what the daemon would refuse at any time', frameOf({ stdin: '{' }), /the CNI configuration of Plexus/],
  ] as const) {
    test(name, async () => {
      const { plugin, calls } = recordingPlugin();
      await using node = await startNode({ plugins: [plugin] });
      const file = await leave(spoolOf(node), {}, bytes);
      const aside = join(spoolOf(node), `${file}.corrupt`);
      await until(() => node.lines.some(({ level, path }) => level === 50 && path === aside));
      assert.deepEqual(await readFile(aside), bytes);
      assert.match(String(node.lines.find(({ path }) => path === aside)?.['msg']), why);
      assert.deepEqual(await readdir(spoolOf(node)), [`${file}.corrupt`]);
      assert.deepEqual(calls, []);
    });
  }
});

describe('the directory', { timeout }, () => {
  test('is made for root alone, and what was abandoned half-written is removed', async () => {
    await using directory = await testDirectory();
    const path = join(directory.path, 'state/spool');
    await mkdir(path, { recursive: true, mode: 0o755 });
    for (const name of ['.unfinished-1-1', '.unfinished-2-2']) await writeFile(join(path, name), 'PLX');
    const hoursAgo = new Date(Date.now() - 2 * 3_600_000);
    await utimes(join(path, '.unfinished-1-1'), hoursAgo, hoursAgo);
    await SpoolDirectory.open(path);
    assert.equal((await stat(path)).mode & 0o777, 0o700);
    assert.deepEqual(await readdir(path), ['.unfinished-2-2']);
    await writeFile(join(directory.path, 'file'), '');
    await assert.rejects(SpoolDirectory.open(join(directory.path, 'file')), { code: 'EEXIST' });
  });

  test('that is looked into is not changed, and need not be there', async () => {
    await using directory = await testDirectory();
    const spool = SpoolDirectory.look(join(directory.path, 'none'));
    assert.deepEqual(await spool.list(), { waiting: [], setAside: [] });
    assert.deepEqual(await readdir(directory.path), []);
  });

  test('keeps a request that took the place of the one that was carried out', async () => {
    await using directory = await testDirectory();
    const spool = await SpoolDirectory.open(directory.path);
    await leave(spool.path);
    const { log } = keptLog();
    const answered = Promise.withResolvers<void>();
    let count = 0;
    const replay = await Replay.start({
      directory: spool,
      log,
      waits: [1],
      adopt: async () => true,
      answer: async () => {
        count++;
        if (count === 1) {
          await leave(spool.path);
        } else {
          answered.resolve();
        }
        return { exitStatus: 0, stdout: '' };
      },
    });
    await answered.promise;
    await until(async () => (await readdir(spool.path)).length === 0);
    await replay.close(timeout);
    assert.equal(count, 2);
  });
});
