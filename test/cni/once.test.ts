import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configFor } from '../../src/cni/chain.ts';
import { parseNetworkConfig } from '../../src/cni/config.ts';
import { oncePerConfig } from '../../src/cni/once.ts';

const config = { cniVersion: '1.0.0', name: 'net-a', type: 'bridge' };

test('work is done once for each configuration, and again for one that is equal', () => {
  let times = 0;
  const read = oncePerConfig(({ name }) => [`${name} ${++times}`]);
  assert.deepEqual([read(config), read(config), read({ ...config })], [['net-a 1'], ['net-a 1'], ['net-a 2']]);
});

test('what is undefined is work that was done; what failed is not', () => {
  let times = 0;
  const read = oncePerConfig(() => {
    if (++times === 1) throw new Error('not now');
  });
  assert.throws(() => read(config), /not now/);
  assert.deepEqual([read(config), read(config), times], [undefined, undefined, 2]);
});

test('nobody can change what all share', () => {
  const read = oncePerConfig(() => ({ list: [{ key: 'value' }], bytes: Uint8Array.of(1) }));
  const value = read(config);
  assert.throws(() => value.list.push({ key: 'other' }), TypeError);
  assert.throws(() => Object.assign(value.list[0] ?? {}, { key: 'other' }), TypeError);
});

test('a network is read once from one text, and anew where text, source or default name is another', () => {
  const text = '{"cniVersion":"1.0.0","type":"bridge"}';
  const read = (json: string, source: string, defaultName: string) => parseNetworkConfig(json, source, { defaultName });
  const list = read(text, 'a', 'net-a');
  assert.equal(read(text, 'a', 'net-a'), list);
  assert.equal(read(text, 'a', 'net-b').name, 'net-b');
  assert.equal(read(`${text} `, 'a', 'net-a').name, 'net-a');
  assert.notEqual(read(`${text} `, 'a', 'net-a'), list);
  assert.throws(() => read('{', 'one file', 'net-a'), /^CniError: one file: /);
  assert.throws(() => read('{', 'another file', 'net-a'), /^CniError: another file: /);
  assert.throws(() => Object.assign(list, { name: 'net-c' }), TypeError);
});

test('what one attachment asks for never reaches another of the same network', () => {
  const list = parseNetworkConfig(
    '{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","capabilities":{"mac":true}}]}',
    'a',
  );
  const [plugin] = list.plugins;
  assert.ok(plugin);
  const plain = configFor(list, plugin, {});
  const asked = configFor(list, plugin, {
    runtimeConfig: { mac: '02:00:00:00:00:01' },
    cniArgs: { a: 1 },
    deviceId: 'd',
  });
  assert.deepEqual(asked['runtimeConfig'], { mac: '02:00:00:00:00:01' });
  assert.equal(configFor(list, plugin, {}), plain);
  assert.deepEqual(plain, { ...plugin, cniVersion: '1.0.0', name: 'n' });
});
