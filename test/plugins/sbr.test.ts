import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import type { Result } from '../../src/cni/result.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';

becomeNode();
before(() => addWire('ens5'));

const own = config('sbr', {});

/** A pod that has the default route on eth0. */
async function pod(): Promise<TestNamespace> {
  const home = await testNamespace();
  await ip(home.path, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0p');
  for (const name of ['eth0', 'eth0p']) await ip(home.path, 'link', 'set', name, 'up');
  await ip(home.path, 'address', 'add', '10.0.0.2/24', 'dev', 'eth0');
  await ip(home.path, 'route', 'add', 'default', 'via', '10.0.0.1', 'dev', 'eth0');
  return home;
}

/** The interface by which the kernel sends from an address of the pod to somewhere far away. */
async function wayFrom(home: TestNamespace, address: string): Promise<unknown> {
  const [way] = await ip(home.path, 'route', 'get', '192.0.2.1', 'from', address);
  return way?.['dev'];
}

const rulesOf = async (home: TestNamespace) => (await ip(home.path, 'rule')).map(({ src, table }) => `${src} ${table}`);

const untouched = ['all local', 'all main', 'all default'];

describe('sbr', () => {
  test('what comes from the interface leaves by it, in a chain whose CHECK succeeds and whose DEL leaves nothing', async () => {
    await using addresses = await hostLocalAddresses({ subnet: '10.1.2.0/24', routes: [{ dst: '10.9.0.0/16' }] });
    await using home = await pod();
    const network = config('macvlan', { master: 'ens5', ipam: addresses.ipam });
    const at = attachment(home.path);
    const result = await runner.add(network, at);
    assert.equal(await wayFrom(home, '10.1.2.2'), 'eth0');

    const passed = await runner.add(withResult(own, result), at);
    assert.deepEqual(JSON.parse(JSON.stringify(passed)), JSON.parse(JSON.stringify(result)));
    assert.equal(await wayFrom(home, '10.1.2.2'), 'net1');
    assert.equal(await wayFrom(home, '10.0.0.2'), 'eth0');
    for (const each of [network, own]) await runner.check(withResult(each, result), at);

    for (const _ of [1, 2]) for (const each of [own, network]) await runner.delete(withResult(each, result), at);
    assert.deepEqual(await rulesOf(home), untouched);
  });

  test('a rule of another interface stays, whatever its address', async () => {
    await using home = await pod();
    const result: Result = {
      interfaces: [{ name: 'eth0', sandbox: home.path }],
      ips: [{ address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 }],
      routes: [],
      dns: {},
    };
    await runner.add(withResult(own, result), attachment(home.path, { ifName: 'eth0' }));
    await runner.delete(withResult(own, result), attachment(home.path, { ifName: 'net1' }));
    assert.deepEqual(await rulesOf(home), ['all local', '10.0.0.2 100', 'all main', 'all default']);
    await runner.delete(own, attachment(home.path, { ifName: 'eth0' }));
    assert.deepEqual(await rulesOf(home), untouched);
  });

  test('an ADD that fails leaves rules, tables and routes as they were', async () => {
    await using home = await pod();
    const before = [await stateOf(home.path), await ip(home.path, 'route', 'show', 'table', 'all')];
    const result: Result = {
      interfaces: [{ name: 'eth0', sandbox: home.path }],
      ips: [
        { address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 },
        { address: '10.0.0.3/24', gateway: '172.31.0.1', interface: 0 },
      ],
      routes: [],
      dns: {},
    };
    const adding = runner.add(withResult(own, result), attachment(home.path, { ifName: 'eth0' }));
    await assert.rejects(adding, { code: 999, message: /172\.31\.0\.1.*unreachable/ });
    assert.deepEqual([await stateOf(home.path), await ip(home.path, 'route', 'show', 'table', 'all')], before);
    assert.deepEqual(await rulesOf(home), untouched);
  });

  test('a namespace that is gone has no rules to remove', async () => {
    for (const netns of ['', '/run/netns/plx-none']) await runner.delete(own, attachment(netns));
  });
});
