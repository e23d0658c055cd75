import assert from 'node:assert/strict';
import { chmod, mkdir, open, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { encodeRequest } from '../../src/daemon/client.ts';
import { prepareDefaultNetwork } from '../../src/daemon/spool/prepare.ts';
import { encodePrepared } from '../../src/daemon/spool/prepared.ts';
import { decodeRecord } from '../../src/daemon/spool/record.ts';
import { Journal } from '../../src/journal/journal.ts';
import { tryLockExclusive } from '../../src/linux/flock.ts';
import { fakePlugin } from '../cni/support.ts';
import { until } from '../kubernetes/playground.ts';
import { testDirectory } from '../support/directory.ts';
import { type Node, slowPlugin, startNode } from './node.ts';

/* The daemon's part in pods that start while it is down: what it prepares for them, and how it adopts them. */

const timeout = 30_000;

const spoolOf = ({ directory }: Node): string => join(directory, 'state/spool');
const networkText = JSON.stringify({ cniVersion: '1.1.0', name: 'default', plugins: [{ type: 'fake' }] });
const metaConfig = { cniVersion: '1.1.0', name: 'plexus', type: 'plexus', clusterNetwork: 'default' };
const fileName = 'plexus:c1:eth0:add';

function section(magic: string, text: string): Buffer {
  const header = Buffer.from(`${magic}\0\0\0\0`);
  header.writeUInt32LE(Buffer.byteLength(text), 4);
  return Buffer.concat([header, Buffer.from(text)]);
}

/** What the shim notes of an ADD. @param result What the plugins printed; undefined before they have. */
function recordBytes(result: string | undefined): Buffer {
  const env = {
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '/run/netns/plx-none-c1',
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/runtime/bin',
    CNI_ARGS: 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0',
  };
  const runtimeConfig = { portMappings: [{ hostPort: 80 }] };
  const used = { config: networkText, source: 'a test', defaultName: 'default' };
  return Buffer.concat([
    encodeRequest({ name: 'plexus', env, stdin: JSON.stringify({ ...metaConfig, runtimeConfig }) }),
    section('PLXN', JSON.stringify(used)),
    ...(result === undefined ? [] : [section('PLXR', result)]),
  ]);
}

async function leaveRecord(node: Node, bytes: Uint8Array): Promise<void> {
  await writeFile(join(spoolOf(node), '.unfinished-1-1'), bytes, { mode: 0o600 });
  await rename(join(spoolOf(node), '.unfinished-1-1'), join(spoolOf(node), fileName));
}

async function leaveDelete(node: Node): Promise<void> {
  const env = { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/nowhere' };
  const frame = encodeRequest({ name: 'plexus', env, stdin: JSON.stringify(metaConfig) });
  await writeFile(join(spoolOf(node), '.unfinished-2-2'), frame, { mode: 0o600 });
  await rename(join(spoolOf(node), '.unfinished-2-2'), join(spoolOf(node), 'plexus:c1:eth0:0123456789abcdef'));
}

const entryOf = async ({ directory }: Node) =>
  (await Journal.open(join(directory, 'state/journal'))).read({ containerId: 'c1', ifName: 'eth0' });

const result = JSON.stringify({ cniVersion: '1.1.0', interfaces: [{ name: 'eth0', sandbox: '/x' }], ips: [] });

describe('what the shim attached by itself', { timeout }, () => {
  test('is in the journal when the daemon is ready, so that CHECK and DEL find it', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    await node.restart(undefined, () => leaveRecord(node, recordBytes(result)));
    assert.deepEqual(await readdir(spoolOf(node)), []);
    const entry = await entryOf(node);
    assert.equal(entry?.complete, true);
    const [planned, ...more] = entry?.plan.attachments ?? [];
    assert.deepEqual(more, []);
    assert.deepEqual(planned, {
      network: 'default',
      ifName: 'eth0',
      isDefault: true,
      config: networkText,
      source: 'a test',
      defaultName: 'default',
      runtimeConfig: { portMappings: [{ hostPort: 80 }] },
      cniArgs: {},
    });
    assert.deepEqual(entry?.results.get('eth0')?.['interfaces'], [{ name: 'eth0', sandbox: '/x' }]);
    assert.equal((await node.call({ command: 'CHECK' })).exitStatus, 0);
    assert.equal((await node.call({ command: 'DEL' })).exitStatus, 0);
    assert.equal(await entryOf(node), undefined);
  });

  for (const [name, bytes] of [
    ['has no result', recordBytes(undefined)],
    ['has half a result', recordBytes(result).subarray(0, -5)],
    ['has a result that is none', recordBytes('{"cniVersion":"7"}')],
  ] as const) {
    test(`is released where it ${name}: the runtime has been given none`, async () => {
      const plugin = slowPlugin();
      plugin.open();
      await using node = await startNode({ plugins: [plugin] });
      await node.restart(undefined, () => leaveRecord(node, bytes));
      await until(async () => (await entryOf(node)) === undefined);
      assert.deepEqual(plugin.steps, ['DEL c1 begins', 'DEL c1 ends']);
      assert.deepEqual(await readdir(spoolOf(node)), []);
    });
  }

  test('is left alone while the shim is at it: calls for the sandbox and GC are to come again', async () => {
    const plugin = slowPlugin();
    plugin.open();
    await using node = await startNode({ plugins: [plugin] });
    const unfinished = join(spoolOf(node), '.unfinished-1-1');
    await writeFile(unfinished, recordBytes(undefined), { mode: 0o600 });
    await using file = await open(unfinished, 'a');
    assert.ok(tryLockExclusive(file.fd));
    await rename(unfinished, join(spoolOf(node), fileName));
    const valid = { 'cni.dev/valid-attachments': [] };
    for (const call of [
      { command: 'DEL' },
      { command: 'CHECK' },
      { command: 'ADD' },
      { command: 'GC', config: valid },
    ]) {
      const { exitStatus, stdout } = await node.call(call);
      assert.equal(exitStatus, 1, call.command);
      const { code, msg } = JSON.parse(stdout);
      assert.equal(code, 11);
      assert.match(msg, /^container c1, interface eth0: an earlier ADD, .* comes first: it is under way$/);
    }
    assert.equal((await node.call({ command: 'ADD', sandbox: 'c2' })).exitStatus, 0);
    await file.appendFile(section('PLXR', result));
    await file.close();
    assert.equal((await node.call({ command: 'CHECK' })).exitStatus, 0);
    assert.equal((await entryOf(node))?.complete, true);
    assert.deepEqual(await readdir(spoolOf(node)), []);
  });

  test('comes before a DEL that was left while the shim is still at it', async () => {
    const plugin = slowPlugin();
    plugin.open();
    await using node = await startNode({ plugins: [plugin] });
    const unfinished = join(spoolOf(node), '.unfinished-1-1');
    await writeFile(unfinished, recordBytes(undefined), { mode: 0o600 });
    await using file = await open(unfinished, 'a');
    assert.ok(tryLockExclusive(file.fd));
    await rename(unfinished, join(spoolOf(node), fileName));
    await leaveDelete(node);
    // Whatever came before a call of another sandbox has been looked at once that is answered.
    for (let i = 0; i < 2; i++) await node.call({ command: 'ADD', sandbox: 'c2' });
    assert.deepEqual(
      plugin.steps.filter((step) => step.includes('c1')),
      [],
    );
    await file.appendFile(section('PLXR', result));
    await file.close();
    await until(async () => (await readdir(spoolOf(node))).length === 0);
    assert.equal(await entryOf(node), undefined);
    assert.deepEqual(
      plugin.steps.filter((step) => step.includes('c1')),
      ['DEL c1 begins', 'DEL c1 ends'],
    );
    assert.ok(node.lines.some(({ msg }) => /^attached to its default network only/.test(String(msg))));
  });

  test('and was deleted while there was no daemon is adopted first, then released', async () => {
    const plugin = slowPlugin();
    plugin.open();
    await using node = await startNode({ plugins: [plugin] });
    await node.restart(undefined, async () => {
      await leaveRecord(node, recordBytes(result));
      await leaveDelete(node);
    });
    await until(async () => (await readdir(spoolOf(node))).length === 0);
    assert.equal(await entryOf(node), undefined);
    assert.deepEqual(plugin.steps, ['DEL c1 begins', 'DEL c1 ends']);
  });

  for (const [name, bytes] of [
    ['half a request', recordBytes(result).subarray(0, 40)],
    ['a request alone', recordBytes(undefined).subarray(0, -1)],
    ['more than a result', Buffer.concat([recordBytes(result), Buffer.from('PLXR')])],
    ['something else', Buffer.from('something else')],
  ] as const) {
    test(`and makes no sense is set aside and told: ${name}`, async () => {
      await using node = await startNode({ plugins: [] });
      await leaveRecord(node, bytes);
      const aside = join(spoolOf(node), `${fileName}.corrupt`);
      await until(() => node.lines.some(({ level, path }) => level === 50 && path === aside));
      assert.deepEqual(await readFile(aside), bytes);
      assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
    });
  }
});

test('a record that is cut off anywhere has no result, or makes no sense', () => {
  const whole = recordBytes(result);
  const withoutResult = recordBytes(undefined).length;
  const waiting = { file: fileName, command: 'ADD', plugin: 'plexus', containerId: 'c1', ifName: 'eth0' } as const;
  for (let length = 0; length < whole.length; length++) {
    const cut = whole.subarray(0, length);
    if (length < withoutResult) assert.throws(() => decodeRecord(cut, waiting), `${length} bytes`);
    else assert.equal(decodeRecord(cut, waiting).result, undefined, `${length} bytes`);
  }
  assert.equal(decodeRecord(whole, waiting).result, result);
});

describe('what pods get while the daemon is down', { timeout }, () => {
  async function directories(network: JsonObject, binaries: readonly string[]) {
    const directory = await testDirectory();
    const at = (name: string): string => join(directory.path, name);
    for (const name of ['bin', 'net.d']) await mkdir(at(name));
    for (const name of ['plexus', ...binaries]) {
      await writeFile(at(`bin/${name}`), '#!/bin/sh\n');
      await chmod(at(`bin/${name}`), 0o755);
    }
    await writeFile(at('net.d/10-default.conflist'), JSON.stringify(network));
    const config = { clusterNetwork: at('net.d/10-default.conflist'), binDir: at('bin') };
    const prepare = (cniVersion?: string, change: JsonObject = {}) =>
      prepareDefaultNetwork({ config: { ...config, ...change }, cniVersion, cluster: undefined, root: undefined });
    return { at, config, prepare, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
  }

  const network = {
    cniVersion: '1.0.0',
    name: 'main',
    plugins: [
      { type: 'first', capabilities: { mac: true, ips: false }, ipam: { type: 'addresses' } },
      { type: 'second', x: 1 },
    ],
  };

  test('is what the daemon would execute', async () => {
    await using it = await directories(network, ['first', 'second', 'addresses']);
    const prepared = await it.prepare('1.0.0');
    const common = { cniVersion: '1.0.0', name: 'main' };
    assert.deepEqual(
      prepared.plugins.map(({ path, config, capabilities }) => [path, JSON.parse(config), capabilities]),
      [
        [it.at('bin/first'), { ...network.plugins[0], ...common }, ['mac']],
        [it.at('bin/second'), { ...network.plugins[1], ...common }, []],
      ],
    );
    assert.deepEqual(
      [prepared.cniVersion, prepared.hasPrevResult, prepared.directories],
      ['1.0.0', true, [it.at('bin')]],
    );
    assert.equal(prepared.network.config, JSON.stringify(network));
    assert.equal(encodePrepared(prepared).toString('latin1', 0, 4), 'PLXD');
  });

  test('cannot be said, and why', async () => {
    await using it = await directories(network, ['first', 'second']);
    await assert.rejects(it.prepare(), {
      message: `plugin "addresses" has no binary in ${it.at('bin')}, and only the daemon has it built in`,
    });
    await symlink(it.at('bin/plexus'), it.at('bin/addresses'));
    await assert.rejects(it.prepare(), {
      message: `${it.at('bin/addresses')} is a link to the CNI binary of Plexus, and only the daemon has that plugin built in`,
    });
    await assert.rejects(it.prepare('1.1.0'), {
      message: `the runtime asks for results in cniVersion 1.1.0, and ${it.config.clusterNetwork} is in 1.0.0; write both in one`,
    });
    await assert.rejects(
      it.prepare(undefined, { clusterNetwork: '' }),
      /clusterNetwork: expected the name or the file/,
    );
  });

  test('is kept as the default network is, and taken away where it cannot be said or is not wanted', async () => {
    const file = (node: Node): string => join(spoolOf(node), 'default-network');
    const chosen = { whenDaemonIsDown: 'default-network-only', clusterNetwork: 'default' };
    await using node = await startNode({ plugins: [] }, chosen, 'external');
    const cannot =
      /^whenDaemonIsDown: "default-network-only" cannot be honoured, and pods would wait: plugin "external"/;
    assert.ok(node.lines.some(({ level, msg }) => level === 40 && cannot.test(String(msg))));
    assert.deepEqual(await readdir(spoolOf(node)), []);
    await writeFile(join(node.directory, 'bin/external'), '#!/bin/sh\n', { mode: 0o755 });
    await node.restart();
    assert.match(await readFile(file(node), 'latin1'), /^PLXD.*bin\/external/s);
    await node.daemon.close();
    assert.match(await readFile(file(node), 'latin1'), /^PLXD/);
  });

  test('is taken away where they are to wait', async () => {
    await using node = await startNode({ plugins: [] });
    await node.restart(undefined, () => writeFile(join(spoolOf(node), 'default-network'), 'PLXD'));
    assert.deepEqual(await readdir(spoolOf(node)), []);
  });
});
