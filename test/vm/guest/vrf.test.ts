import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Result } from '../../../src/cni/result.ts';
import { writeSysctl } from '../../../src/linux/sysctl.ts';
import { attachment, config, ip, runner, stateOf, withResult } from '../../plugins/support.ts';
import { connect } from '../../plugins/traffic.ts';
import { type TestNamespace, testNamespace } from '../../support/namespace.ts';
import { becomeNode } from '../../support/node.ts';

becomeNode();

/** An interface of a pod with an address that others may have too, on a wire to a neighbour of its own. */
async function wire(pod: TestNamespace, name: string): Promise<TestNamespace> {
  const neighbour = await testNamespace();
  await ip(pod.path, 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', neighbour.path);
  await ip(pod.path, 'address', 'add', '10.1.2.9/24', 'dev', name);
  await ip(pod.path, 'address', 'add', 'fd00:1::9/64', 'dev', name, 'nodad');
  await ip(pod.path, 'link', 'set', name, 'up');
  await ip(neighbour.path, 'address', 'add', '10.1.2.1/24', 'dev', 'eth0');
  await ip(neighbour.path, 'address', 'add', 'fd00:1::1/64', 'dev', 'eth0', 'nodad');
  await ip(neighbour.path, 'link', 'set', 'eth0', 'up');
  return neighbour;
}

const resultOf = (pod: TestNamespace, name: string): Result => ({
  interfaces: [{ name, sandbox: pod.path }],
  ips: [{ address: '10.1.2.9/24', interface: 0 }],
  routes: [],
  dns: {},
});

test('two neighbours of the same address reach the pod through its two VRFs, as soon as ADD answers', async () => {
  await using pod = await testNamespace();
  await using one = await wire(pod, 'net1');
  await using two = await wire(pod, 'net2');
  // A server that is bound to no VRF hears from all of them.
  await writeSysctl(pod.namespace, 1, 'ipv4', 'tcp_l3mdev_accept');
  const networks = [
    { name: 'net1', network: config('vrf', { vrfname: 'blue' }), neighbour: one },
    { name: 'net2', network: config('vrf', { vrfname: 'red' }), neighbour: two },
  ];
  for (const { name, network } of networks) {
    const whole = withResult(network, resultOf(pod, name));
    await runner.add(whole, attachment(pod.path, { ifName: name }));
    await runner.check(whole, attachment(pod.path, { ifName: name }));
  }
  for (const { neighbour } of networks) {
    assert.equal(await connect(neighbour.path, pod.path, '10.1.2.9'), '10.1.2.1');
    assert.equal(await connect(neighbour.path, pod.path, 'fd00:1::9'), 'fd00:1::1');
  }
  for (const { name, network } of networks) {
    for (const _ of [1, 2]) await runner.delete(network, attachment(pod.path, { ifName: name }));
  }
  const names = (await ip(pod.path, 'link')).map(({ ifname }) => ifname);
  assert.deepEqual(names, ['lo', 'net1', 'net2']);
});

test('a name that another interface has leaves everything as it was', async () => {
  await using pod = await testNamespace();
  await using _neighbour = await wire(pod, 'net1');
  await ip(pod.path, 'route', 'add', '10.9.0.0/16', 'via', '10.1.2.1', 'dev', 'net1');
  const before = await stateOf(pod.path);
  await ip(pod.path, 'link', 'add', 'red', 'type', 'bridge');
  const network = withResult(config('vrf', { vrfname: 'red' }), resultOf(pod, 'net1'));
  await assert.rejects(runner.add(network, attachment(pod.path)), { message: 'Netlink red is not a VRF' });
  await ip(pod.path, 'link', 'delete', 'red');
  assert.deepEqual(await stateOf(pod.path), before);
});
