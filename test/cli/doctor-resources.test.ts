import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkResources } from '../../src/cli/doctor/resources.ts';
import { Kubelet } from '../devices/kubelet.ts';
import { testDirectory } from '../support/directory.ts';

test('a node whose devices are to be resources needs kubelet, and a configuration without mistakes', async () => {
  await using directory = await testDirectory();
  const file = join(directory.path, 'config.json');
  const config = {
    devicePluginConfig: file,
    devicePluginPrefix: 'intel.com',
    stateDir: directory.path,
    kubeletDir: join(directory.path, 'kubelet'),
    overlay: {},
  };
  const look = async (overlay = {}) =>
    (await checkResources({ ...config, overlay })).map(({ isFine, text }) => [
      isFine,
      text.replaceAll(directory.path, ''),
    ]);

  assert.deepEqual(await look(), []);
  const none = 'no device of this node is a resource';
  const socket = `/kubelet/device-plugins/kubelet.sock, where kubelet takes them, is not there; there would be: ${none}`;
  assert.deepEqual(await look({ devicePluginConfig: file }), [
    [
      false,
      '/config.json: there is no such file, hence no resource; create it, or name another one as devicePluginConfig',
    ],
    [false, socket],
  ]);

  await writeFile(file, JSON.stringify({ resourceList: [{ resourceName: 'a', selectors: { vendors: ['ffff'] } }] }));
  assert.deepEqual(await look(), [[false, socket]]);
  await using _kubelet = await Kubelet.start(config.kubeletDir);
  assert.deepEqual(await look(), [[true, `${none}; plexus devices tells more`]]);
  await writeFile(file, JSON.stringify({ resourceList: [{ resourceName: 'a-b' }] }));
  assert.deepEqual(await look(), [
    [false, '/config.json: resourceList[0]: resourceName: expected a name of letters, digits and _, found "a-b"'],
    [true, `${none}; plexus devices tells more`],
  ]);
});
