import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addList, checkList, deleteList } from '../../src/cni/chain.ts';
import { parseNetworkConfig } from '../../src/cni/config.ts';
import { emptyResult } from '../../src/cni/result.ts';
import { Runner } from '../../src/cni/runner.ts';
import { cniVersions, hasCommand } from '../../src/cni/version.ts';
import { passthru } from '../../src/plugins/passthru.ts';
import { attachment, fakePlugin } from '../cni/support.ts';

for (const cniVersion of cniVersions) {
  test(`of version ${cniVersion}, passthru answers with an empty result, and holds nothing`, async () => {
    const list = parseNetworkConfig(JSON.stringify({ cniVersion, name: 'n', type: 'passthru' }), 'a test');
    const runner = new Runner({ builtin: [passthru] });
    const { result, raw } = await addList(list, attachment, {}, runner);
    assert.deepEqual(result, emptyResult);
    if (hasCommand(cniVersion, 'CHECK')) await checkList(list, attachment, { prevResult: raw }, runner);
    for (const _ of [1, 2]) await deleteList(list, attachment, { prevResult: raw }, runner);
    await deleteList(list, { ...attachment, netns: '' }, {}, runner);
  });
}

test('passthru passes on the result of the plugin before it', async () => {
  const before = fakePlugin({ result: { ...emptyResult, interfaces: [{ name: 'net1', sandbox: '/run/netns/a' }] } });
  const plugins = [{ type: 'fake' }, { type: 'passthru' }];
  const list = parseNetworkConfig(JSON.stringify({ cniVersion: '1.1.0', name: 'n', plugins }), 'a test');
  const { result } = await addList(list, attachment, {}, new Runner({ builtin: [before, passthru] }));
  assert.deepEqual(result.interfaces, [{ name: 'net1', sandbox: '/run/netns/a' }]);
});
