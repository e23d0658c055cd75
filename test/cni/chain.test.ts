import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AddError, addList, capabilitiesOf, checkList, deleteList, gcList, statusList } from '../../src/cni/chain.ts';
import { type NetworkConfigList, networkConfigOf } from '../../src/cni/config.ts';
import { CniError } from '../../src/cni/error.ts';
import { emptyResult, type Result } from '../../src/cni/result.ts';
import { Runner } from '../../src/cni/runner.ts';
import { attachment, binDirectory, type FakeBehaviour, type FakePlugin, fakePlugin, rejectedBy } from './support.ts';

interface Chain {
  readonly list: NetworkConfigList;
  readonly runner: Runner;
  readonly calls: string[];
  readonly a: FakePlugin;
  readonly b: FakePlugin;
  readonly c: FakePlugin;
}

/** Three plugins: the first makes net1, the others pass on what they are given, and each adds an address. */
function chain(behaviours: Readonly<Record<string, FakeBehaviour>> = {}, list: object = {}): Chain {
  const calls: string[] = [];
  const make = (type: string, result: FakeBehaviour['result']): FakePlugin =>
    fakePlugin({ type, calls, ...(result && { result }), ...behaviours[type] });
  const a = make('a', {
    ...emptyResult,
    interfaces: [{ name: 'net1', mac: '254' }],
    ips: [{ address: '10.0.0.1/32' }],
  });
  const b = make('b', withAddress('10.0.0.2/32'));
  const c = make('c', withAddress('10.0.0.3/32'));
  const config = { cniVersion: '1.1.0', name: 'n1', plugins: [{ type: 'a' }, { type: 'b' }, { type: 'c' }], ...list };
  return { list: networkConfigOf(config, 'test'), runner: new Runner({ builtin: [a, b, c] }), calls, a, b, c };
}

const withAddress =
  (address: string) =>
  ({ prevResult = emptyResult }: { prevResult: Result | undefined }): Result => ({
    ...prevResult,
    ips: [...prevResult.ips, { address }],
  });

const failing = (command: string, message: string, code = 100): FakeBehaviour => ({
  fails: { [command]: new CniError(code, message, `details of ${message}`) },
});

describe('ADD', () => {
  test('calls the plugins in order, each with the result of the one before', async () => {
    const { list, runner, calls, a, b, c } = chain();
    const { result, raw } = await addList(list, attachment, {}, runner);
    assert.deepEqual(calls, ['ADD a', 'ADD b', 'ADD c']);
    const interfaces = [{ name: 'net1', mac: '254' }];
    const ips = [{ address: '10.0.0.1/32' }, { address: '10.0.0.2/32' }, { address: '10.0.0.3/32' }];
    assert.deepEqual(result, { interfaces, ips, routes: [], dns: {} });
    assert.deepEqual(raw, { cniVersion: '1.1.0', interfaces, ips });
    assert.equal('prevResult' in (a.configs[0] ?? {}), false);
    assert.deepEqual(b.configs[0]?.['prevResult'], { cniVersion: '1.1.0', interfaces, ips: ips.slice(0, 1) });
    assert.deepEqual(c.configs[0]?.['prevResult'], { cniVersion: '1.1.0', interfaces, ips: ips.slice(0, 2) });
  });

  test("gives each plugin its own keys, and the list's name and version", async () => {
    const plugins = [{ type: 'a', name: 'other', cniVersion: '0.1.0', Own: { x: null }, args: { labels: 1 } }];
    const { list, runner, a } = chain({}, { cniVersion: '0.4.0', cniVersions: ['1.0.0'], plugins });
    await addList(list, attachment, {}, runner);
    assert.deepEqual(a.configs, [
      { type: 'a', name: 'n1', cniVersion: '1.0.0', Own: { x: null }, args: { labels: 1 } },
    ]);
  });

  test('gives runtimeConfig to those that declare the capability', async () => {
    const plugins = [
      { type: 'a', capabilities: { ips: true, mac: false, portMappings: true } },
      { type: 'b', runtimeConfig: { static: 1 } },
      { type: 'c', capabilities: { mac: true }, runtimeConfig: { static: 1 } },
    ];
    const { list, runner, a, b, c } = chain({}, { plugins });
    await addList(list, attachment, { runtimeConfig: { ips: ['10.0.0.9/24'], mac: '02:00:00:00:00:01' } }, runner);
    const given = [a, b, c].map(({ configs }) => configs[0]?.['runtimeConfig']);
    assert.deepEqual(given, [{ ips: ['10.0.0.9/24'] }, { static: 1 }, { mac: '02:00:00:00:00:01' }]);
    assert.deepEqual(capabilitiesOf(list), new Set(['ips', 'portMappings', 'mac']));
  });

  test('merges cni-args over args.cni of every plugin', async () => {
    const plugins = [{ type: 'a', args: { labels: { l: 1 }, cni: { keep: 1, ips: ['old'] } } }, { type: 'b' }];
    const { list, runner, a, b } = chain({}, { plugins });
    await addList(list, attachment, { cniArgs: { ips: ['new'] } }, runner);
    assert.deepEqual(a.configs[0]?.['args'], { labels: { l: 1 }, cni: { keep: 1, ips: ['new'] } });
    assert.deepEqual(b.configs[0]?.['args'], { cni: { ips: ['new'] } });
  });

  test('hands a result through executed and built-in plugins alike', async () => {
    const script = `sed -e 's/.*"prevResult"://' -e 's/,"cniVersion":"0.4.0","name".*//'`;
    await using bin = await binDirectory({ executed: script });
    const plugins = [{ type: 'a' }, { type: 'executed' }, { type: 'c' }];
    const { list, runner } = chain({}, { cniVersion: '0.4.0', plugins });
    const { raw } = await addList(list, { ...attachment, path: [bin.path] }, {}, runner);
    assert.deepEqual(raw, {
      cniVersion: '0.4.0',
      interfaces: [{ name: 'net1', mac: '254' }],
      ips: [
        { version: '4', address: '10.0.0.1/32' },
        { version: '4', address: '10.0.0.3/32' },
      ],
      dns: {},
    });
  });

  test('that fails is undone in reverse order, the failed plugin included', async () => {
    const { list, runner, calls, a, b } = chain({ b: failing('ADD', 'no room', 11) });
    const thrown = await addList(list, attachment, {}, runner).catch((error: unknown) => error);
    assert.ok(thrown instanceof AddError);
    assert.equal(thrown.code, 11);
    assert.equal(thrown.message, 'plugin type="b" name="n1" failed (add): no room');
    assert.equal(thrown.details, 'details of no room');
    assert.deepEqual(thrown.undoFailures, []);
    assert.deepEqual(calls, ['ADD a', 'ADD b', 'DEL b', 'DEL a']);
    const prevResult = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'net1', mac: '254' }],
      ips: [{ address: '10.0.0.1/32' }],
    };
    assert.deepEqual([a.configs[1]?.['prevResult'], b.configs[1]?.['prevResult']], [prevResult, prevResult]);
  });

  test('that fails and cannot be undone says what is left', async () => {
    const { list, runner, calls } = chain({ a: failing('DEL', 'stuck'), c: failing('ADD', 'no room') });
    const thrown = await addList(list, attachment, {}, runner).catch((error: unknown) => error);
    assert.ok(thrown instanceof AddError);
    assert.equal(thrown.message, 'plugin type="c" name="n1" failed (add): no room');
    assert.equal(
      thrown.details,
      'details of no room; could not be undone: plugin type="a" name="n1" failed (delete): stuck',
    );
    assert.equal(thrown.undoFailures.length, 1);
    assert.deepEqual(calls, ['ADD a', 'ADD b', 'ADD c', 'DEL c', 'DEL b', 'DEL a']);
  });

  test('is undone when its result has no form in the version', async () => {
    const layer2 = { result: { ...emptyResult, interfaces: [{ name: 'net1' }] } };
    const { list, runner, calls } = chain({ a: layer2 }, { cniVersion: '0.2.0', plugins: [{ type: 'a' }] });
    const [code, message] = await rejectedBy(addList(list, attachment, {}, runner));
    assert.equal(code, 999);
    assert.equal(message, 'plugin type="a" name="n1" failed (add): cannot convert: no valid IP addresses');
    assert.deepEqual(calls, ['ADD a', 'DEL a', 'DEL a']);
  });

  for (const [what, bad] of [
    ['container ID', { containerId: '../x' }],
    ['interface name', { ifName: 'a/b' }],
  ] as const) {
    test(`calls nobody with a bad ${what}`, async () => {
      const { list, runner, calls } = chain();
      const [code] = await rejectedBy(addList(list, { ...attachment, ...bad }, {}, runner));
      assert.equal(code, 4);
      assert.deepEqual(calls, []);
    });
  }
});

describe('DEL', () => {
  const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'dummy0', mac: '0' }] };

  test('calls the plugins in reverse order, each with the final result', async () => {
    const { list, runner, calls, a, c } = chain();
    await deleteList(list, attachment, { prevResult }, runner);
    assert.deepEqual(calls, ['DEL c', 'DEL b', 'DEL a']);
    assert.deepEqual([a.configs[0]?.['prevResult'], c.configs[0]?.['prevResult']], [prevResult, prevResult]);
  });

  test('goes on after a failure, and tells all of them', async () => {
    const { list, runner, calls } = chain({ a: failing('DEL', 'second', 5), c: failing('DEL', 'first', 11) });
    assert.deepEqual(await rejectedBy(deleteList(list, attachment, {}, runner)), [
      11,
      'plugin type="c" name="n1" failed (delete): first; plugin type="a" name="n1" failed (delete): second',
      'details of first; details of second',
    ]);
    assert.deepEqual(calls, ['DEL c', 'DEL b', 'DEL a']);
  });

  const forms: readonly [string, string, object, unknown][] = [
    ['before 0.4.0 without it', '0.3.1', { cniVersion: '0.3.1' }, undefined],
    [
      "in the list's version",
      '0.4.0',
      { cniVersion: '1.0.0', ips: [{ address: '10.0.0.2/24' }] },
      { cniVersion: '0.4.0', ips: [{ version: '4', address: '10.0.0.2/24' }], dns: {} },
    ],
    ['without one that cannot be read', '1.0.0', { cniVersion: '7.0.0' }, undefined],
    [
      'exactly as it was written',
      '0.4.0',
      { cniVersion: '0.4.0', interfaces: [{ name: 'x', mac: '' }], odd: [null] },
      { cniVersion: '0.4.0', interfaces: [{ name: 'x', mac: '' }], odd: [null] },
    ],
  ];
  for (const [name, cniVersion, before, expected] of forms) {
    test(`passes the result ${name}`, async () => {
      const { list, runner, a } = chain({}, { cniVersion });
      await deleteList(list, attachment, { prevResult: JSON.parse(JSON.stringify(before)) }, runner);
      assert.deepEqual(a.configs[0]?.['prevResult'], expected);
    });
  }
});

describe('CHECK', () => {
  const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'net1' }] };

  test('calls the plugins in order, each with the final result, up to the first failure', async () => {
    const { list, runner, calls, b } = chain({ b: failing('CHECK', 'route is missing') });
    assert.deepEqual((await rejectedBy(checkList(list, attachment, { prevResult }, runner))).slice(0, 2), [
      100,
      'plugin type="b" name="n1" failed (check): route is missing',
    ]);
    assert.deepEqual(calls, ['CHECK a', 'CHECK b']);
    assert.deepEqual(b.configs[0]?.['prevResult'], prevResult);
  });

  test('calls nobody where the list says disableCheck', async () => {
    const { list, runner, calls } = chain({}, { disableCheck: 'true' });
    await checkList(list, attachment, { prevResult }, runner);
    assert.deepEqual(calls, []);
  });

  test('needs a version that has it, and the result', async () => {
    const old = chain({}, { cniVersion: '0.3.1' });
    assert.equal((await rejectedBy(checkList(old.list, attachment, { prevResult }, old.runner)))[0], 1);
    const { list, runner, calls } = chain();
    assert.deepEqual(await rejectedBy(checkList(list, attachment, {}, runner)), [
      7,
      'network "n1": CHECK needs the result of the ADD',
      '',
    ]);
    assert.deepEqual([...calls, ...old.calls], []);
  });
});

describe('STATUS', () => {
  test('is the first complaint, with its code', async () => {
    const { list, runner, calls } = chain({ b: failing('STATUS', 'no daemon', 50) });
    const [code, message] = await rejectedBy(statusList(list, [], runner));
    assert.deepEqual([code, message], [50, 'plugin type="b" name="n1" failed (status): no daemon']);
    assert.deepEqual(calls, ['STATUS a', 'STATUS b']);
  });

  test('asks nobody before 1.1.0', async () => {
    const { list, runner, calls } = chain({}, { cniVersion: '1.0.0' });
    await statusList(list, [], runner);
    assert.deepEqual(calls, []);
  });
});

describe('GC', () => {
  test('tells every plugin what is valid, and goes on after a failure', async () => {
    const { list, runner, calls, a, c } = chain({ a: failing('GC', 'locked'), b: failing('GC', 'locked too') });
    const [, message] = await rejectedBy(gcList(list, [{ containerId: 'c1', ifName: 'net1' }], [], runner));
    assert.equal(
      message,
      'plugin type="a" name="n1" failed (gc): locked; plugin type="b" name="n1" failed (gc): locked too',
    );
    assert.deepEqual(calls, ['GC a', 'GC b', 'GC c']);
    const valid = [{ containerID: 'c1', ifname: 'net1' }];
    for (const { configs } of [a, c]) {
      assert.deepEqual(configs[0]?.['cni.dev/valid-attachments'], valid);
      assert.deepEqual(configs[0]?.['cni.dev/attachments'], valid);
    }
  });

  for (const list of [{ disableGC: true }, { cniVersion: '1.0.0' }]) {
    test(`calls nobody with ${JSON.stringify(list)}`, async () => {
      const { list: network, runner, calls } = chain({}, list);
      await gcList(network, [], [], runner);
      assert.deepEqual(calls, []);
    });
  }
});
