import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseNetworkConfig, parsePluginInput } from '../../src/cni/config.ts';
import { thrownBy } from './support.ts';

const source = 'NetworkAttachmentDefinition default/x, spec.config';
const flags = { disableCheck: false, disableGC: false, loadOnlyInlinedPlugins: false };

describe('the configuration of a network', () => {
  const cases: readonly [string, object, object][] = [
    [
      'one plugin becomes a list of one, every key kept',
      { cniVersion: '0.3.0', name: 'n', type: 'ipvlan', Master: 'ens6', x: { y: [null, 1.5] } },
      {
        cniVersion: '0.3.0',
        name: 'n',
        ...flags,
        plugins: [{ cniVersion: '0.3.0', name: 'n', type: 'ipvlan', Master: 'ens6', x: { y: [null, 1.5] } }],
      },
    ],
    [
      'a list',
      {
        cniVersion: '1.0.0',
        name: 'n',
        plugins: [
          { type: 'a', k: 1 },
          { type: 'b', capabilities: { ips: true } },
        ],
      },
      {
        cniVersion: '1.0.0',
        name: 'n',
        ...flags,
        plugins: [
          { type: 'a', k: 1 },
          { type: 'b', capabilities: { ips: true } },
        ],
      },
    ],
    [
      'a list with a type of its own, as some write',
      { name: 'n', type: 'multus', plugins: [{ type: 'a' }] },
      { cniVersion: '0.1.0', name: 'n', ...flags, plugins: [{ type: 'a' }] },
    ],
    [
      'the newest version that is known',
      { cniVersion: '0.4.0', cniVersions: ['1.0.0', '9.0.0'], name: 'n', plugins: [{ type: 'a' }] },
      { cniVersion: '1.0.0', name: 'n', ...flags, plugins: [{ type: 'a' }] },
    ],
    [
      'switches as booleans and as text',
      { name: 'n', disableCheck: true, disableGC: 'true', loadOnlyInlinedPlugins: 'T', plugins: [{ type: 'a' }] },
      {
        cniVersion: '0.1.0',
        name: 'n',
        disableCheck: true,
        disableGC: true,
        loadOnlyInlinedPlugins: true,
        plugins: [{ type: 'a' }],
      },
    ],
    [
      'switches that are off',
      { name: 'n', disableCheck: 'false', disableGC: '0', loadOnlyInlinedPlugins: null, plugins: [{ type: 'a' }] },
      { cniVersion: '0.1.0', name: 'n', ...flags, plugins: [{ type: 'a' }] },
    ],
    [
      'a name from outside',
      { type: 'a' },
      { cniVersion: '0.1.0', name: 'outside', ...flags, plugins: [{ type: 'a' }] },
    ],
  ];
  for (const [name, config, expected] of cases) {
    test(name, () => {
      const options = { defaultName: 'outside' };
      assert.deepEqual(parseNetworkConfig(JSON.stringify(config), source, options), expected);
    });
  }

  test("a plugin's keys stay as they were written, also __proto__", () => {
    const text = '{"name":"n","plugins":[{"type":"a","__proto__":{"evil":1},"z":null}]}';
    const [plugin] = parseNetworkConfig(text, source).plugins;
    assert.equal(JSON.stringify(plugin), '{"type":"a","__proto__":{"evil":1},"z":null}');
    assert.equal('evil' in (plugin ?? {}), false);
  });
});

describe('a configuration that cannot be used is told with its source', () => {
  const cases: readonly [string, number, string, string?][] = [
    [
      '{"name":"n","type":"a"',
      6,
      'line 1, column 23: expected "," or "}", found the end of the text, near: name":"n","type":"a"',
    ],
    ['[]', 6, 'expected a JSON object, found []'],
    ['{"name":"n"}', 7, 'expected plugins, a list of plugins, or type, the name of the only one; found neither'],
    ['{"name":"n","plugins":[]}', 7, 'plugins: expected at least one plugin, found []'],
    ['{"name":"n","plugins":{"type":"a"}}', 7, 'plugins: expected a list of plugins, found {"type":"a"}'],
    ['{"name":"n","plugins":null}', 7, 'plugins: expected a list of plugins, found nothing'],
    ['{"name":"n","plugins":[null]}', 7, 'plugins[0]: expected an object, found null'],
    ['{"name":"n","plugins":[{"type":"a"},{}]}', 7, 'plugins[1].type: expected the name of a plugin, found nothing'],
    ['{"name":"n","type":"../sh"}', 7, 'type: expected the name of a plugin, without a slash, found "../sh"'],
    ['{"name":"n","type":""}', 7, 'type: expected the name of a plugin, without a slash, found ""'],
    ['{"name":"n","type":7}', 7, 'type: expected the name of a plugin, found 7'],
    ['{"name":7,"type":"a"}', 7, 'name: expected a string, found 7'],
    ['{"type":"a"}', 7, 'missing network name'],
    ['{"name":"a b","type":"a"}', 7, 'invalid characters found in network name', 'a b'],
    ['{"name":"../x","type":"a"}', 7, 'invalid characters found in network name', '../x'],
    [
      '{"name":"n","type":"a","cniVersion":"9.9.9"}',
      1,
      'expected a cniVersion of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, found 9.9.9',
    ],
    [
      '{"name":"n","type":"a","cniVersion":"x"}',
      1,
      'expected a cniVersion of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, found x',
    ],
    ['{"name":"n","type":"a","cniVersion":1}', 7, 'cniVersion: expected a string, found 1'],
    ['{"name":"n","type":"a","disableCheck":"yes"}', 7, 'disableCheck: expected true or false, found "yes"'],
    [
      '{"name":"n","type":"a","capabilities":{"ips":"yes"}}',
      7,
      'capabilities.ips: expected true or false, found "yes"',
    ],
    [
      JSON.stringify({ name: 'n', plugins: Array(33).fill({ type: 'a' }) }),
      7,
      'plugins: expected at most 32 plugins, found [{"type":"a"},{"type":"a"},{"type":"a"},{"type":"a"},{"type"...',
    ],
  ];
  for (const [text, code, message, details = ''] of cases) {
    test(message, () => {
      assert.deepEqual(
        thrownBy(() => parseNetworkConfig(text, source)),
        [code, `${source}: ${message}`, details],
      );
    });
  }
});

describe("a plugin's standard input", () => {
  test('keeps every key and fills in what may be missing', () => {
    assert.deepEqual(parsePluginInput('{"Name":"n","X":{"y":null}}', 'macvlan'), {
      Name: 'n',
      X: { y: null },
      cniVersion: '0.1.0',
      name: 'n',
      type: 'macvlan',
    });
  });

  const cases: readonly [string, number, string][] = [
    ['', 6, 'network configuration on standard input: line 1, column 1: expected a value, found the end of the text'],
    ['"x"', 6, 'network configuration on standard input: expected a JSON object, found "x"'],
    ['{}', 7, 'missing network name'],
    ['{"name":""}', 7, 'missing network name'],
    ['{"name":["n"]}', 7, 'network configuration: name: expected a string, found ["n"]'],
  ];
  for (const [text, code, message] of cases) {
    test(message, () =>
      assert.deepEqual(
        thrownBy(() => parsePluginInput(text, 'macvlan')),
        [code, message, ''],
      ),
    );
  }
});
