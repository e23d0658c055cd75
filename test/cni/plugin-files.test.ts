import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseNetworkConfig } from '../../src/cni/config.ts';
import { readPluginFiles, withPluginFiles } from '../../src/cni/plugin-files.ts';
import { testDirectory } from '../support/directory.ts';
import { rejectedBy } from './support.ts';

/** Types of the plugins of a network whose file lies beside these, a directory for each path. */
async function pluginsOf(network: string, beside: Readonly<Record<string, string>>): Promise<string[]> {
  await using directory = await testDirectory();
  for (const [name, text] of Object.entries(beside)) {
    await mkdir(join(directory.path, name, '..'), { recursive: true });
    await writeFile(join(directory.path, name), text);
  }
  const path = join(directory.path, '10-net.conflist');
  const config = await withPluginFiles(network, path);
  return parseNetworkConfig(config, path).plugins.map(({ type }) => type);
}

const beside = {
  'net/20-b.conf': '{"type":"b"}',
  'net/10-a.conf': '{"name":"ignored","cniVersion":"0.3.1","type":"a"}',
  'net/30-c.conflist': '{"type":"c"}',
  'net/notes.txt': 'no configuration',
  'net/40-d.conf/e': '',
  'other/f.conf': '{"type":"f"}',
};

describe('loadOnlyInlinedPlugins (CNI specification 1.1.0, section 1)', () => {
  const cases: readonly [string, string, readonly string[]][] = [
    [
      'a list is followed by the plugins of the directory of its name, in the order of file names',
      '{"name":"net","plugins":[{"type":"x"}]}',
      ['x', 'a', 'b'],
    ],
    ['a list without plugins of its own has those alone', '{"cniVersion":"1.0.0","name":"net"}', ['a', 'b']],
    [
      'false is the default',
      '{"name":"net","loadOnlyInlinedPlugins":"false","plugins":[{"type":"x"}]}',
      ['x', 'a', 'b'],
    ],
    ['true leaves them out', '{"name":"net","loadOnlyInlinedPlugins":true,"plugins":[{"type":"x"}]}', ['x']],
    ['so does its text', '{"name":"net","LOADONLYINLINEDPLUGINS":"true","plugins":[{"type":"x"}]}', ['x']],
    ['the configuration of one plugin is not added to', '{"name":"net","type":"x"}', ['x']],
    ['a network without a directory has its own', '{"name":"none","plugins":[{"type":"x"}]}', ['x']],
  ];
  for (const [name, network, expected] of cases) {
    test(name, async () => assert.deepEqual(await pluginsOf(network, beside), expected));
  }

  test('nothing is read for a name that leads elsewhere', async () => {
    await using directory = await testDirectory();
    await writeFile(join(directory.path, 'a.conf'), '{"type":"a"}');
    await mkdir(join(directory.path, 'net.d'));
    const text = '{"name":"..","plugins":[{"type":"x"}]}';
    assert.equal(await withPluginFiles(text, join(directory.path, 'net.d/10-net.conflist')), text);
  });

  const wrong: readonly [string, string, number, RegExp][] = [
    ['malformed JSON', '{"type":', 6, /a\.conf: /],
    ['a list', '[]', 6, /a\.conf: expected a JSON object/],
    ['no type', '{"name":"a"}', 7, /a\.conf: expected plugins, .* or type/],
    ['a type that is a path', '{"type":"../a"}', 7, /a\.conf: type: expected the name of a plugin/],
  ];
  for (const [name, text, code, message] of wrong) {
    test(`a file with ${name} is an error that names it`, async () => {
      await using directory = await testDirectory();
      await writeFile(join(directory.path, 'a.conf'), text);
      const [foundCode, foundMessage] = await rejectedBy(readPluginFiles(directory.path));
      assert.equal(foundCode, code);
      assert.match(foundMessage, message);
    });
  }
});
