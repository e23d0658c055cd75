import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import { cniVersions } from '../../src/cni/version.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { fakePlugin } from '../cni/support.ts';
import { type Node, slowPlugin, startNode } from './node.ts';

const timeout = 20_000;

describe('called as the meta-plugin', { timeout }, () => {
  for (const as of ['plexus', 'multus', 'multus-shim']) {
    test(`${as} attaches a sandbox, checks it and releases it`, async () => {
      const plugin = fakePlugin({ result: { interfaces: [{ name: 'eth0' }], ips: [], routes: [], dns: {} } });
      await using node = await startNode({ plugins: [plugin] });
      const added = await node.call({ command: 'ADD', as });
      assert.equal(added.exitStatus, 0, added.stdout);
      assert.deepEqual(JSON.parse(added.stdout), { cniVersion: '1.1.0', interfaces: [{ name: 'eth0' }] });
      for (const command of ['CHECK', 'DEL', 'DEL', 'STATUS']) {
        assert.deepEqual(await node.call({ command, as }), { exitStatus: 0, stdout: '' });
      }
      // The second DEL is of a sandbox that is not known: its default network is asked all the same.
      assert.deepEqual(plugin.calls, ['ADD fake', 'CHECK fake', 'DEL fake', 'DEL fake', 'STATUS fake']);
      assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
    });
  }

  test('tells its versions, whatever its input', async () => {
    await using node = await startNode({ plugins: [] });
    for (const [stdin, cniVersion] of [
      ['', '1.1.0'],
      ['{"cniVersion":"0.4.0"}', '0.4.0'],
    ]) {
      const { exitStatus, stdout } = await node.call({ command: 'VERSION', stdin: stdin ?? '' });
      assert.deepEqual([exitStatus, JSON.parse(stdout)], [0, { cniVersion, supportedVersions: cniVersions }]);
    }
  });

  test('ADD waits for readinessindicatorfile, and STATUS tells while it is missing', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin] });
    const file = join(node.directory, 'ready');
    const config = { readinessindicatorfile: file };
    const adding = node.call({ command: 'ADD', config });
    const { exitStatus, stdout } = await node.call({ command: 'STATUS', config });
    assert.deepEqual([exitStatus, JSON.parse(stdout).code], [1, 50]);
    assert.deepEqual(plugin.calls, []);
    await writeFile(file, '');
    assert.equal((await adding).exitStatus, 0);
    assert.equal((await node.call({ command: 'STATUS', config })).exitStatus, 0);
    assert.deepEqual(plugin.calls, ['ADD fake', 'STATUS fake']);
  });

  test('GC releases what the runtime does not know, and lets the plugins look for themselves', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin] });
    for (const sandbox of ['kept', 'lost']) await node.call({ command: 'ADD', sandbox });
    const config = { 'cni.dev/valid-attachments': [{ containerID: 'kept', ifname: 'eth0' }] };
    assert.deepEqual(await node.call({ command: 'GC', config }), { exitStatus: 0, stdout: '' });
    assert.deepEqual(plugin.calls, ['ADD fake', 'ADD fake', 'DEL fake', 'GC fake']);
    assert.deepEqual(await readdir(join(node.directory, 'state/journal')), ['kept:eth0']);
  });

  test('the node itself is no sandbox: ADD refuses it, and DEL takes the sandbox for gone', async () => {
    const netns: string[] = [];
    const plugin = fakePlugin();
    const seen = {
      ...plugin,
      async delete(call: Parameters<typeof plugin.delete>[0]) {
        netns.push(call.attachment.netns);
      },
    };
    await using node = await startNode({ plugins: [seen] });
    const env = { CNI_NETNS: '/proc/self/ns/net' };
    const { exitStatus, stdout } = await node.call({ command: 'ADD', env });
    assert.equal(exitStatus, 1);
    assert.deepEqual(JSON.parse(stdout), {
      cniVersion: '1.1.0',
      code: 8,
      msg: 'CNI_NETNS /proc/self/ns/net is the network namespace of the node itself, expected that of a sandbox',
      details: 'CNI_NETNS_OVERRIDE=1 allows it',
    });
    assert.equal((await node.call({ command: 'DEL', env })).exitStatus, 0);
    assert.deepEqual(netns, ['']);
    assert.equal((await node.call({ command: 'ADD', env: { ...env, CNI_NETNS_OVERRIDE: '1' } })).exitStatus, 0);
  });

  const errors: readonly [string, Parameters<Node['call']>[0], object][] = [
    [
      'malformed configuration',
      { command: 'ADD', stdin: '{' },
      {
        cniVersion: '1.1.0',
        code: 6,
        msg: 'the CNI configuration of Plexus: line 1, column 2: expected a key in double quotes, found the end of the text, near: {',
      },
    ],
    [
      'a default network that is nowhere, in the version asked for',
      { command: 'ADD', config: { cniVersion: '0.4.0', clusterNetwork: '/nowhere/at-all.conf' } },
      {
        cniVersion: '0.4.0',
        code: 7,
        msg: 'the default network, clusterNetwork "/nowhere/at-all.conf", was not found; looked for the path /nowhere/at-all.conf',
        details: 'install the default network, or name the one that is installed',
      },
    ],
    [
      'a variable that is missing',
      { command: 'ADD', env: { CNI_IFNAME: '' } },
      { cniVersion: '1.1.0', code: 4, msg: 'required env variables [CNI_IFNAME] missing' },
    ],
    [
      'CHECK of a sandbox that is not known',
      { command: 'CHECK' },
      { cniVersion: '1.1.0', code: 3, msg: 'container c1, interface eth0: was never added here, or was deleted' },
    ],
  ];
  for (const [name, call, error] of errors) {
    test(`${name} is an error`, async () => {
      await using node = await startNode({ plugins: [fakePlugin()] });
      const { exitStatus, stdout } = await node.call(call);
      assert.deepEqual([exitStatus, JSON.parse(stdout)], [1, error]);
    });
  }
});

describe('called as one plugin', { timeout }, () => {
  const alone = { cniVersion: '1.0.0', name: 'n1', type: 'fake' };

  test('answers for that plugin alone', async () => {
    const plugin = fakePlugin();
    await using node = await startNode({ plugins: [plugin, fakePlugin({ type: 'other' })] });
    const added = await node.call({ command: 'ADD', as: 'fake', stdin: JSON.stringify(alone) });
    assert.deepEqual([added.exitStatus, JSON.parse(added.stdout)], [0, { cniVersion: '1.0.0' }]);
    assert.deepEqual(plugin.calls, ['ADD fake']);
    assert.deepEqual(await readdir(join(node.directory, 'state/journal')), []);
    const version = await node.call({ command: 'VERSION', as: 'other', stdin: '' });
    assert.deepEqual(JSON.parse(version.stdout).supportedVersions, cniVersions);
  });

  test('refuses the namespace of the node', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    const env = { CNI_NETNS: '/proc/self/ns/net' };
    const { stdout } = await node.call({ command: 'ADD', as: 'fake', env, stdin: JSON.stringify(alone) });
    assert.equal(JSON.parse(stdout).code, 8);
  });

  test('is an error under a name that is not built in, which lists those that are', async () => {
    await using node = await startNode({ plugins: [fakePlugin(), fakePlugin({ type: 'other' })] });
    const { exitStatus, stdout } = await node.call({ command: 'ADD', as: 'nosuch', stdin: JSON.stringify(alone) });
    assert.equal(exitStatus, 1);
    assert.deepEqual(JSON.parse(stdout), {
      cniVersion: '1.0.0',
      code: 4,
      msg: 'called as "nosuch": expected plexus, multus, multus-shim, fake, other',
      details: 'what has another name is not built into Plexus; remove this link to it',
    });
  });

  test('is possible for each plugin that is built in', async () => {
    await using node = await startNode();
    for (const { type, versions } of builtinPlugins) {
      const { stdout } = await node.call({ command: 'VERSION', as: type, stdin: '{"cniVersion":"1.0.0"}' });
      assert.deepEqual(JSON.parse(stdout), { cniVersion: '1.0.0', supportedVersions: versions });
    }
  });

  test('is possible in the midst of an ADD of the same sandbox, for what that executes', async () => {
    const plugin = slowPlugin();
    const inner = fakePlugin({ type: 'inner' });
    await using node = await startNode({ plugins: [plugin, inner] });
    const added = node.call({ command: 'ADD' });
    await plugin.began(1);
    const stdin = JSON.stringify({ ...alone, type: 'inner' });
    assert.equal((await node.call({ command: 'ADD', as: 'inner', stdin })).exitStatus, 0);
    plugin.open();
    assert.equal((await added).exitStatus, 0);
  });
});

describe('calls', { timeout }, () => {
  for (const as of ['plexus', 'fake']) {
    test(`for one sandbox follow one another, as ${as}`, async () => {
      const plugin = slowPlugin();
      await using node = await startNode({ plugins: [plugin] });
      const stdin = { ...(as === 'fake' && { stdin: '{"cniVersion":"1.1.0","name":"n","type":"fake"}' }) };
      const added = node.call({ command: 'ADD', as, ...stdin });
      await plugin.began(1);
      const deleted = node.call({ command: 'DEL', as, ...stdin });
      const other = node.call({ command: 'ADD', as, sandbox: 'c2', ...stdin });
      // The other sandbox does not wait, and the DEL, which came before it, does.
      await plugin.began(2);
      plugin.open();
      for (const { exitStatus, stdout } of await Promise.all([added, deleted, other]))
        assert.equal(exitStatus, 0, stdout);
      assert.deepEqual(plugin.steps.slice(0, 2), ['ADD c1 begins', 'ADD c2 begins']);
      assert.ok(plugin.steps.indexOf('DEL c1 begins') > plugin.steps.indexOf('ADD c1 ends'));
    });
  }

  test('wait for a GC, and it waits for them', async () => {
    const plugin = slowPlugin();
    await using node = await startNode({ plugins: [plugin] });
    const added = node.call({ command: 'ADD' });
    await plugin.began(1);
    const config = { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] };
    const collected = node.call({ command: 'GC', config });
    plugin.open();
    await Promise.all([added, collected]);
    assert.deepEqual(
      plugin.steps.filter((step) => step.endsWith('begins')),
      ['ADD c1 begins', 'GC  begins'],
    );
    assert.ok(plugin.steps.indexOf('ADD c1 ends') < plugin.steps.indexOf('GC  begins'));
  });
});

describe('each call', { timeout }, () => {
  const pod = { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0' };

  test('is one line of the log, with its sandbox and pod', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    await node.call({ command: 'ADD', env: pod });
    const [line, ...rest] = node.lines.filter((each) => 'command' in each);
    assert.deepEqual(rest, []);
    const { durationMs, attachments, ...fields } = line ?? {};
    assert.equal(typeof durationMs, 'number');
    assert.deepEqual(fields, {
      level: 30,
      command: 'ADD',
      plugin: 'plexus',
      containerId: 'c1',
      ifName: 'eth0',
      pod: 'shop/cart-0',
      code: 0,
      msg: 'answered',
    });
    const [attachment] = Array.isArray(attachments) ? attachments : [];
    assert.equal(typeof attachment.durationMs, 'number');
    assert.deepEqual(
      { ...attachment, durationMs: 0 },
      { command: 'ADD', network: 'default', ifName: 'eth0', durationMs: 0 },
    );
  });

  test('that fails is a line with its code, its message and what to do', async () => {
    const plugin = fakePlugin({ fails: { ADD: new CniError(11, 'no room', 'come back') } });
    await using node = await startNode({ plugins: [plugin] });
    const { exitStatus } = await node.call({ command: 'ADD', env: pod });
    assert.equal(exitStatus, 1);
    const line = node.lines.find((each) => 'command' in each);
    assert.equal(line?.['level'], 50);
    assert.equal(line?.['code'], 11);
    assert.equal(line?.['details'], 'come back');
    assert.match(String(line?.['msg']), /^network default, interface eth0: .*no room$/);
  });

  test('is a line of bounded length, whatever its caller says', async () => {
    await using node = await startNode({ plugins: [] });
    const long = 'x'.repeat(1 << 20);
    const env = { CNI_CONTAINERID: long, CNI_IFNAME: long, CNI_ARGS: `K8S_POD_NAMESPACE=${long};K8S_POD_NAME=${long}` };
    for (const call of [{ command: 'ADD', env }, { command: long }, { command: 'ADD', as: 'x'.repeat(255) }]) {
      assert.equal((await node.call(call)).exitStatus, 1);
    }
    const lengths = node.lines.filter((each) => 'command' in each).map((line) => JSON.stringify(line).length);
    assert.equal(lengths.length, 3);
    for (const length of lengths) assert.ok(length < 10_000, `${lengths}`);
  });

  test('that runs into a bug is a line with the place of it', async () => {
    const plugin = fakePlugin({ fails: { STATUS: new TypeError('not a function') } });
    await using node = await startNode({ plugins: [plugin] });
    await node.call({ command: 'STATUS', as: 'fake', stdin: '{"cniVersion":"1.1.0","name":"n"}' });
    const line = node.lines.find((each) => 'command' in each);
    assert.match(JSON.stringify(line?.['err']), /caused by: TypeError: not a function\\n +at .*calls\.test\.ts/);
  });

  test('that is asked every few seconds is told only to who wants to know all', async () => {
    await using node = await startNode({ plugins: [fakePlugin()] });
    await node.call({ command: 'STATUS' });
    await node.call({ command: 'VERSION' });
    assert.deepEqual(
      node.lines.filter((each) => 'command' in each).map(({ level }) => level),
      [20, 20],
    );
  });

  test('counts in the metrics, and names that a caller makes up do not', async () => {
    await using node = await startNode({ plugins: [fakePlugin({ fails: { DEL: new CniError(7, 'no') } })] });
    await node.call({ command: 'ADD' });
    await node.call({ command: 'DEL' });
    await node.call({ command: 'MADE-UP' });
    await node.call({ command: 'ADD', as: 'made-up' });
    const response = await fetch(`http://127.0.0.1:${node.daemon.metricsPort}/metrics`);
    const lines = (await response.text()).split('\n');
    const counters = lines.filter((line) => /^plexus_(calls|attachments)_total/.test(line)).sort();
    assert.deepEqual(counters, [
      'plexus_attachments_total{command="ADD",network="default",plugin="fake",outcome="success"} 1',
      'plexus_attachments_total{command="DEL",network="default",plugin="fake",outcome="failure"} 1',
      'plexus_calls_total{command="ADD",plugin="plexus",code="0"} 1',
      'plexus_calls_total{command="ADD",plugin="unknown",code="4"} 1',
      'plexus_calls_total{command="DEL",plugin="plexus",code="7"} 1',
      'plexus_calls_total{command="unknown",plugin="plexus",code="4"} 1',
    ]);
    for (const name of ['plexus_call_seconds', 'plexus_attachment_seconds']) {
      assert.ok(lines.some((line) => line.startsWith(`${name}_bucket{le="0.001",command="ADD"`)));
    }
  });
});

test('what is not built in is executed from the directories of the configuration, then of the runtime', {
  timeout,
}, async () => {
  await using node = await startNode({ plugins: [] }, {}, 'external');
  const runtime = join(node.directory, 'runtime');
  await mkdir(runtime);
  const script = (address: string): string =>
    `#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"${address}"}]}'\nexit 0\n`;
  await writeFile(join(runtime, 'external'), script('10.0.0.1/8'), { mode: 0o755 });
  const env = { CNI_PATH: runtime };
  const first = await node.call({ command: 'ADD', env });
  assert.deepEqual(JSON.parse(first.stdout).ips, [{ address: '10.0.0.1/8' }]);
  await writeFile(join(node.directory, 'bin/external'), script('10.0.0.2/8'), { mode: 0o755 });
  const second = await node.call({ command: 'ADD', sandbox: 'c2', env });
  assert.deepEqual(JSON.parse(second.stdout).ips, [{ address: '10.0.0.2/8' }]);
});

test('with a connectionLimit, calls of the runtime wait for one another', { timeout: 30_000 }, async () => {
  const plugin = slowPlugin();
  await using node = await startNode({ plugins: [plugin] }, { connectionLimit: 1 });
  const first = node.call({ command: 'ADD', sandbox: 'c1' });
  await plugin.began(1);
  const second = node.call({ command: 'ADD', sandbox: 'c2' });
  // The plugin itself is called past the limit: what is executed for the first call may need it.
  const config = JSON.stringify({ cniVersion: '1.1.0', name: 'alone', type: 'fake' });
  const alone = node.call({ command: 'ADD', as: 'fake', sandbox: 'c3', stdin: config });
  await plugin.began(2);
  plugin.open();
  assert.deepEqual(
    (await Promise.all([first, second, alone])).map(({ exitStatus }) => exitStatus),
    [0, 0, 0],
  );
  const ofRuntime = plugin.steps.filter((step) => !step.includes('c3'));
  assert.deepEqual(ofRuntime, ['ADD c1 begins', 'ADD c1 ends', 'ADD c2 begins', 'ADD c2 ends']);
});

test('a runtime may ask what its own cniVersion has, whatever version results are wanted in', async () => {
  await using node = await startNode({ plugins: [fakePlugin()] }, { cniVersion: '0.3.1' });
  assert.deepEqual(await node.call({ command: 'STATUS' }), { exitStatus: 0, stdout: '' });
  const { stdout } = await node.call({ command: 'ADD' });
  assert.equal(JSON.parse(stdout).cniVersion, '0.3.1');
  const old = await node.call({ command: 'STATUS', config: { cniVersion: '0.3.1' } });
  assert.equal(JSON.parse(old.stdout).code, 1);
});
