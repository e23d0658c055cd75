import assert from 'node:assert/strict';
import { closeSync, openSync, read as readCallback, write as writeCallback } from 'node:fs';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { CniError } from '../../src/cni/error.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { isKernelError } from '../../src/linux/errors.ts';
import { ioctlOnThread } from '../../src/linux/libc.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, hostLocalAddresses, ip, runner, stateOf, withResult } from './support.ts';
import { exchange } from './traffic.ts';

becomeNode();

const network = (keys: JsonObject = {}) => config('tap', keys);

/** linux/if_tun.h: a program's side of a tap whose packets have no header before them. */
const TUNSETIFF = 0x400454ca;
const flags = { tap: 0x0002, multiQueue: 0x0100, noPacketInfo: 0x1000 };

/** Opens a tap as the program does that it was made for. */
async function openTap({ namespace }: TestNamespace, name: string, more = 0): Promise<Disposable & { fd: number }> {
  const fd = namespace.run(() => openSync('/dev/net/tun', 'r+'));
  const request = Buffer.alloc(40);
  request.write(name);
  request.writeUInt16LE(flags.tap | flags.noPacketInfo | more, 16);
  await ioctlOnThread(`open ${name}`, fd, TUNSETIFF, request);
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}

const read = promisify(readCallback);
const write = promisify(writeCallback);

/** Carries frames from one program to another until the first one's tap is gone. */
async function carry(from: number, to: number): Promise<void> {
  const frame = Buffer.alloc(65_536);
  for (;;) {
    const { bytesRead } = await read(from, frame, 0, frame.length, null);
    await write(to, frame, 0, bytesRead);
  }
}

const dualStack = { ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

describe('tap', () => {
  test('an ADD makes the interface with all that it is told, and its DEL takes all back, twice', async () => {
    await using addresses = await hostLocalAddresses(dualStack);
    await using pod = await testNamespace();
    const before = await stateOf(pod.path);
    const settings = { multiQueue: true, owner: 107, group: 108, mtu: 1300, mac: '02:00:00:00:00:0A' };
    const told = network({ ...settings, ipam: addresses.ipam, dns: { domain: 'example' } });
    const result = await runner.add(told, attachment(pod.path));
    assert.deepEqual(result, {
      interfaces: [{ name: 'net1', mac: '02:00:00:00:00:0a', sandbox: pod.path }],
      ips: [
        { address: '10.1.2.2/24', gateway: '10.1.2.1', interface: 0 },
        { address: 'fd00:1::2/64', gateway: 'fd00:1::1', interface: 0 },
      ],
      routes: [],
      dns: { domain: 'example' },
    });
    const [link] = await ip(pod.path, 'link', 'show', 'net1');
    assert.match(JSON.stringify(link?.['flags']), /"UP"/);
    assert.deepEqual([link?.['mtu'], link?.['address']], [1300, '02:00:00:00:00:0a']);
    assert.match(
      JSON.stringify(link?.['linkinfo']),
      /"info_kind":"tun","info_data":\{"type":"tap","pi":false,"vnet_hdr":false,"multi_queue":true,.*"persist":true/,
    );
    await runner.check(withResult(told, result), attachment(pod.path));

    for (const _ of [1, 2]) await runner.delete(withResult(told, result), attachment(pod.path));
    assert.deepEqual(await stateOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), []);
  });

  test('programs of two pods exchange packets through it, of any size, in both families', async (t) => {
    await using addresses = await hostLocalAddresses(dualStack);
    await using one = await testNamespace();
    await using two = await testNamespace();
    const told = network({ ipam: addresses.ipam });
    await runner.add(told, attachment(one.path));
    await runner.add(told, attachment(two.path, { containerId: 'c2' }));
    using left = await openTap(one, 'net1');
    using right = await openTap(two, 'net1');
    const carrying = [carry(left.fd, right.fd), carry(right.fd, left.fd)].map((each) => each.catch(() => undefined));
    t.after(() => Promise.all(carrying));
    try {
      for (const packet of [100, 1500, 5000]) {
        await exchange(one.path, two.path, '10.1.2.3', packet);
        await exchange(two.path, one.path, 'fd00:1::2', packet);
      }
    } finally {
      // A program that waits for a frame is told that there is no tap any more.
      await runner.delete(told, attachment(one.path));
      await runner.delete(told, attachment(two.path, { containerId: 'c2' }));
    }
  });

  test('several programs open one with several queues, and only one that without', async () => {
    await using pod = await testNamespace();
    await runner.add(network({ multiQueue: true }), attachment(pod.path));
    await runner.add(network(), attachment(pod.path, { ifName: 'net2' }));
    using _first = await openTap(pod, 'net1', flags.multiQueue);
    using _second = await openTap(pod, 'net1', flags.multiQueue);
    using _only = await openTap(pod, 'net2');
    await assert.rejects(openTap(pod, 'net2'), (error) => isKernelError(error, 'EBUSY'));
  });

  test('it becomes a port of a bridge of the container, and a CHECK sees it leave', async () => {
    await using pod = await testNamespace();
    await ip(pod.path, 'link', 'add', 'br0', 'type', 'bridge');
    const told = network({ bridge: 'br0' });
    const checked = withResult(told, await runner.add(told, attachment(pod.path)));
    const [link] = await ip(pod.path, 'link', 'show', 'net1');
    assert.equal(link?.['master'], 'br0');
    await runner.check(checked, attachment(pod.path));
    await ip(pod.path, 'link', 'set', 'net1', 'nomaster');
    await assert.rejects(runner.check(checked, attachment(pod.path)), /tap net1 is no port of bridge br0/);
    await ip(pod.path, 'link', 'del', 'net1');
    await ip(pod.path, 'link', 'add', 'net1', 'type', 'ifb');
    await assert.rejects(runner.check(withResult(network(), emptyOf(pod)), attachment(pod.path)), /not of type tap/);
  });

  const emptyOf = ({ path }: TestNamespace) => ({
    interfaces: [{ name: 'net1', sandbox: path }],
    ips: [],
    routes: [],
    dns: {},
  });

  const refused = [
    { what: 'an MTU that the kernel has not', keys: { mtu: 67 }, message: /interface "net1": .*mtu less than/ },
    { what: 'a negative MTU', keys: { mtu: -1 }, message: /mtu: expected at least 0, found -1/, code: 7 },
    { what: 'a MAC address that is none', keys: { mac: '02:00' }, message: /mac: expected a MAC address/, code: 7 },
    { what: 'the MAC address of a group', keys: { mac: '01:00:5e:00:00:01' }, message: /cannot assign requested/ },
    { what: 'an owner who is nobody', keys: { owner: 0xffffffff }, message: /owner: expected at most/, code: 7 },
    { what: 'a group by name', keys: { group: 'kvm' }, message: /group: expected a (whole )?number/, code: 7 },
    {
      what: 'a bridge that the container has not',
      keys: { bridge: 'br9' },
      message: /^failed to get bridge br9: not found in the container/,
      code: 7,
    },
    {
      what: 'a bridge that is none',
      keys: { bridge: 'lo' },
      message: /"lo" already exists but is not a bridge/,
      code: 7,
    },
    {
      what: 'a context where there is no SELinux',
      keys: { selinuxContext: 'system_u:system_r:container_t:s0' },
      message:
        /^failed to create tap "net1": set the security context "system_u:system_r:container_t:s0" .*invalid argument/,
    },
    { what: 'an argument nobody knows', keys: {}, args: 'FOO=1', message: /ARGS: unknown args \["FOO=1"\]/ },
  ];
  for (const { what, keys, message, args = '', code = 999 } of refused) {
    test(`${what} is refused, and leaves nothing`, async () => {
      await using addresses = await hostLocalAddresses();
      await using pod = await testNamespace();
      const before = [await stateOf(undefined), await stateOf(pod.path)];
      await assert.rejects(
        runner.add(network({ ipam: addresses.ipam, ...keys }), attachment(pod.path, { args })),
        (error) => error instanceof CniError && message.test(error.message) && error.code === code,
      );
      assert.deepEqual([await stateOf(undefined), await stateOf(pod.path)], before);
      assert.deepEqual(await addresses.reserved(), []);
    });
  }

  test('a name that is taken, by another tap too, is refused, and what has it stays', async () => {
    await using addresses = await hostLocalAddresses();
    await using pod = await testNamespace();
    await runner.add(network({ ipam: addresses.ipam }), attachment(pod.path));
    const before = await stateOf(pod.path);
    const second = attachment(pod.path, { containerId: 'c2' });
    await assert.rejects(runner.add(network({ ipam: addresses.ipam }), second), /interface "net1" already exists in/);
    assert.deepEqual(await stateOf(pod.path), before);
    assert.deepEqual(await addresses.reserved(), ['10.1.2.2']);
  });

  test('a DEL releases the address when the namespace is gone, and when none is named', async () => {
    for (const netns of ['/run/netns/plx-none', '']) {
      await using addresses = await hostLocalAddresses();
      const pod = await testNamespace();
      await runner.add(network({ ipam: addresses.ipam }), attachment(pod.path));
      await pod[Symbol.asyncDispose]();
      for (const _ of [1, 2]) await runner.delete(network({ ipam: addresses.ipam }), attachment(netns));
      assert.deepEqual(await addresses.reserved(), []);
    }
  });
});
