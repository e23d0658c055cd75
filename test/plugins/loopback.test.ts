import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Result } from '../../src/cni/result.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, ip, runner, withResult } from './support.ts';

becomeNode();

const network = config('loopback', {});

const isUp = async (netns: string): Promise<boolean> => {
  const [link] = await ip(netns, 'link', 'show', 'lo');
  return JSON.stringify(link?.['flags']).includes('"UP"');
};

test('an ADD brings lo up whatever the interface is called, a DEL takes it down, both twice', async () => {
  await using pod = await testNamespace();
  const inPod = attachment(pod.path, { ifName: 'eth0' });
  for (const _ of [1, 2]) {
    const result = await runner.add(network, inPod);
    assert.deepEqual(result, {
      interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: pod.path }],
      ips: [
        { address: '127.0.0.1/8', interface: 0 },
        { address: '::1/128', interface: 0 },
      ],
      routes: [],
      dns: {},
    });
    assert.equal(await isUp(pod.path), true);
    await runner.check(withResult(network, result), inPod);
  }
  for (const _ of [1, 2]) {
    await runner.delete(network, inPod);
    assert.equal(await isUp(pod.path), false);
  }
  await assert.rejects(runner.check(network, inPod), { message: 'loopback interface is down', code: 999 });
});

test('the result of a plugin before it is passed on as it is', async () => {
  await using pod = await testNamespace();
  const before: Result = {
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:01', sandbox: pod.path }],
    ips: [{ address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 }],
    routes: [{ dst: '0.0.0.0/0' }],
    dns: { nameservers: ['10.1.2.53'] },
  };
  const result = await runner.add(withResult(network, before), attachment(pod.path));
  assert.deepEqual(JSON.parse(JSON.stringify(result)), before);
  assert.equal(await isUp(pod.path), true);
});

for (const address of ['10.1.2.2/24', 'fd00::1/64']) {
  test(`a lo that has ${address} is refused and left as it was`, async () => {
    await using pod = await testNamespace();
    await ip(pod.path, 'address', 'add', address, 'dev', 'lo');
    const before = await ip(pod.path, 'address');
    const message = `loopback interface found with non-loopback address "${address.split('/')[0]}"`;
    await assert.rejects(runner.add(network, attachment(pod.path)), { message, code: 999 });
    assert.deepEqual(await ip(pod.path, 'address'), before);
  });
}

test('a namespace that is gone fails an ADD and a CHECK, and is all right for a DEL', async () => {
  for (const netns of ['/run/netns/plx-none', '']) await runner.delete(network, attachment(netns));
  const gone = attachment('/run/netns/plx-none');
  await assert.rejects(runner.add(network, gone), { code: 8 });
  await assert.rejects(runner.check(network, gone), { code: 8 });
});
