import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CniError } from '../../src/cni/error.ts';
import type { Plugin } from '../../src/cni/plugin.ts';
import { emptyResult, type Result } from '../../src/cni/result.ts';
import { Runner } from '../../src/cni/runner.ts';
import { attachment, binDirectory, fakePlugin, netConfig, rejectedBy } from './support.ts';

const made: Result = { ...emptyResult, interfaces: [{ name: 'net1' }], ips: [{ address: '10.0.0.2/24' }] };

describe('a built-in plugin', () => {
  test('is called in this process', async () => {
    const plugin = fakePlugin({ result: made });
    const runner = new Runner({ builtin: [plugin] });
    assert.deepEqual(await runner.add(netConfig(), attachment), made);
    await runner.check(netConfig(), attachment);
    await runner.delete(netConfig(), attachment);
    await runner.status(netConfig(), []);
    await runner.gc(netConfig(), []);
    assert.deepEqual(plugin.calls, ['ADD fake', 'CHECK fake', 'DEL fake', 'STATUS fake', 'GC fake']);
    assert.deepEqual(await runner.versions('fake', []), plugin.versions);
  });

  test('need not know STATUS and GC', async () => {
    const { type, versions, add, check, delete: remove } = fakePlugin();
    const plugin: Plugin = { type, versions, add, check, delete: remove };
    const runner = new Runner({ builtin: [plugin] });
    await runner.status(netConfig(), []);
    await runner.gc(netConfig(), []);
  });

  test('is given the prevResult in the newest form', async () => {
    const plugin = fakePlugin({ result: ({ prevResult }) => prevResult ?? emptyResult });
    const prevResult = {
      cniVersion: '0.4.0',
      interfaces: [{ name: 'a' }],
      ips: [{ version: '4', address: '10.0.0.2/24' }],
    };
    const config = netConfig({ cniVersion: '0.4.0', prevResult });
    assert.deepEqual(await new Runner({ builtin: [plugin] }).add(config, attachment), {
      interfaces: [{ name: 'a' }],
      ips: [{ address: '10.0.0.2/24' }],
      routes: [],
      dns: {},
    });
  });

  test('is given the runner for its IPAM', async () => {
    const ipam = fakePlugin({ type: 'ipam', result: made });
    const outer: Plugin = {
      ...fakePlugin(),
      add: ({ config, attachment: own, plugins }) => plugins.add({ ...config, type: 'ipam' }, own),
    };
    assert.deepEqual(await new Runner({ builtin: [outer, ipam] }).add(netConfig(), attachment), made);
    assert.deepEqual(ipam.calls, ['ADD ipam']);
  });

  test('is not called in a version that it does not speak', async () => {
    const plugin = fakePlugin({ versions: ['1.0.0'] });
    const runner = new Runner({ builtin: [plugin] });
    const config = netConfig({ cniVersion: '0.3.0' });
    const expected = [1, 'incompatible CNI versions', 'config is "0.3.0", plugin supports ["1.0.0"]'];
    assert.deepEqual(await rejectedBy(runner.add(config, attachment)), expected);
    assert.deepEqual(await rejectedBy(runner.delete(config, attachment)), expected);
    assert.deepEqual(plugin.calls, []);
  });

  test('is not called by a command that its version does not have', async () => {
    const plugin = fakePlugin();
    const runner = new Runner({ builtin: [plugin] });
    const messages = [
      await rejectedBy(runner.check(netConfig({ cniVersion: '0.3.1' }), attachment)),
      await rejectedBy(runner.status(netConfig({ cniVersion: '1.0.0' }), [])),
      await rejectedBy(runner.gc(netConfig({ cniVersion: '1.0.0' }), [])),
    ];
    assert.deepEqual(
      messages.map(([code, message]) => [code, message]),
      [
        [1, 'config version does not allow CHECK'],
        [1, 'config version does not allow STATUS'],
        [1, 'config version does not allow GC'],
      ],
    );
    assert.deepEqual(plugin.calls, []);
  });

  test('is undone when the version asked for cannot express its result', async () => {
    const plugin = fakePlugin({ result: { ...emptyResult, interfaces: [{ name: 'net1' }] } });
    const config = netConfig({ cniVersion: '0.2.0' });
    const [code, message] = await rejectedBy(new Runner({ builtin: [plugin] }).add(config, attachment));
    assert.deepEqual([code, message], [999, 'cannot convert: no valid IP addresses']);
    assert.deepEqual(plugin.calls, ['ADD fake', 'DEL fake']);
  });

  test('that cannot be undone then says both', async () => {
    const plugin = fakePlugin({
      result: { ...emptyResult, interfaces: [{ name: 'net1' }] },
      fails: { DEL: new CniError(5, 'stuck') },
    });
    const config = netConfig({ cniVersion: '0.2.0' });
    const [, message, details] = await rejectedBy(new Runner({ builtin: [plugin] }).add(config, attachment));
    assert.equal(message, 'cannot convert: no valid IP addresses');
    assert.match(details, /could not be undone: stuck$/);
  });

  test('is deleted also with a prevResult that cannot be read', async () => {
    const plugin = fakePlugin();
    const runner = new Runner({ builtin: [plugin] });
    await runner.delete(netConfig({ prevResult: 'garbage' }), attachment);
    assert.deepEqual(plugin.calls, ['DEL fake']);
    const [code] = await rejectedBy(runner.check(netConfig({ prevResult: 'garbage' }), attachment));
    assert.equal(code, 7);
  });
});

describe('any other plugin is executed', () => {
  /** Writes down what it was called with, in files beside it, and prints a result of 0.3.1. */
  const recorder = [
    'dir=$(dirname "$0")',
    'env | grep ^CNI_ | sort > "$dir/$CNI_COMMAND.env"',
    'cat > "$dir/$CNI_COMMAND.in"',
    'case $CNI_COMMAND in',
    `ADD) echo '{"cniVersion":"0.3.1","interfaces":[{"name":"net1","mac":"254"}],"ips":[{"version":"4","address":"10.0.0.2/24"}]}';;`,
    `VERSION) echo '{"cniVersion":"0.3.1","supportedVersions":["0.3.0","0.3.1"]}';;`,
    'esac',
  ].join('\n');

  const call = {
    ...attachment,
    args: new Map([
      ['IgnoreUnknown', '1'],
      ['K8S_POD_NAME', 'p'],
    ]),
  };

  test('with the environment of the call and its configuration on standard input', async () => {
    await using bin = await binDirectory({ recorder });
    const path = ['/nowhere', bin.path];
    const environment = { PATH: process.env['PATH'], CNI_NETNS_OVERRIDE: '1', CNI_COMMAND: 'GC' };
    const runner = new Runner({ builtin: [fakePlugin()], environment });
    const config = netConfig({ type: 'recorder', cniVersion: '0.3.1', extra: [1] });
    assert.deepEqual(await runner.add(config, { ...call, path }), {
      interfaces: [{ name: 'net1', mac: '254' }],
      ips: [{ address: '10.0.0.2/24' }],
      routes: [],
      dns: {},
    });
    await runner.check(config, { ...call, path });
    await runner.delete(config, { ...call, path, netns: '' });
    await runner.status(config, path);
    await runner.gc(config, path);
    assert.deepEqual(await runner.versions('recorder', path), ['0.3.0', '0.3.1']);

    const recorded = (name: string): Promise<string> => readFile(join(bin.path, name), 'utf8');
    const variables = (command: string, netns: string): string =>
      [
        'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=p',
        `CNI_COMMAND=${command}`,
        'CNI_CONTAINERID=c1',
        'CNI_IFNAME=net1',
        `CNI_NETNS=${netns}`,
        `CNI_PATH=/nowhere:${bin.path}`,
        '',
      ].join('\n');
    assert.equal(await recorded('ADD.env'), variables('ADD', '/run/netns/plx-c1'));
    assert.equal(await recorded('CHECK.env'), variables('CHECK', '/run/netns/plx-c1'));
    assert.equal(await recorded('DEL.env'), variables('DEL', ''));
    assert.equal(await recorded('STATUS.env'), `CNI_COMMAND=STATUS\nCNI_PATH=/nowhere:${bin.path}\n`);
    assert.equal(await recorded('GC.env'), `CNI_COMMAND=GC\nCNI_PATH=/nowhere:${bin.path}\n`);
    for (const command of ['ADD', 'CHECK', 'DEL', 'STATUS', 'GC']) {
      assert.deepEqual(JSON.parse(await recorded(`${command}.in`)), config);
    }
    assert.equal(await recorded('VERSION.in'), '{"cniVersion":"1.1.0"}');
  });

  test('also one that is built in, where the administrator says so', async () => {
    await using bin = await binDirectory({ recorder });
    const plugin = fakePlugin({ type: 'recorder' });
    const runner = new Runner({ builtin: [plugin], execute: ['recorder'] });
    const result = await runner.add(netConfig({ type: 'recorder' }), { ...call, path: [bin.path] });
    assert.equal(result.interfaces[0]?.mac, '254');
    assert.deepEqual(plugin.calls, []);
  });

  const failures: readonly [string, string, readonly [number, string]][] = [
    ['its own error', `echo '{"code":100,"msg":"mine"}'; exit 1`, [100, 'mine']],
    [
      'no result',
      'true',
      [6, 'result of plugin "fake": line 1, column 1: expected a value, found the end of the text'],
    ],
    ['something else', 'echo []', [6, 'result of plugin "fake": expected a JSON object, found []']],
    [
      'a result from the future',
      `echo '{"cniVersion":"9.0.0"}'`,
      [
        1,
        'result of plugin "fake": cniVersion: expected one of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, found "9.0.0"',
      ],
    ],
  ];
  for (const [name, script, expected] of failures) {
    test(`and may answer with ${name}`, async () => {
      await using bin = await binDirectory({ fake: script });
      const thrown = await rejectedBy(new Runner({ builtin: [] }).add(netConfig(), { ...call, path: [bin.path] }));
      assert.deepEqual(thrown.slice(0, 2), expected);
    });
  }

  test('and killed when it takes too long', async () => {
    await using bin = await binDirectory({ fake: 'exec sleep 600' });
    const runner = new Runner({ builtin: [], timeoutMs: 200 });
    const [code] = await rejectedBy(runner.delete(netConfig(), { ...call, path: [bin.path] }));
    assert.equal(code, 11);
  });

  test('and may not know VERSION', async () => {
    await using bin = await binDirectory({ fake: 'echo {}' });
    const thrown = await rejectedBy(new Runner({ builtin: [] }).versions('fake', [bin.path]));
    assert.deepEqual(thrown.slice(0, 2), [6, 'VERSION of plugin "fake": expected supportedVersions, a list']);
  });
});
