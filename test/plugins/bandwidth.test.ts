import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { JsonObject } from '../../src/cni/json.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, ip, runner, withResult } from './support.ts';

const run = promisify(execFile);

becomeNode();

/** What the node has: interfaces with their aliases, and all about its queues, for comparing before and after. */
async function nodeState(): Promise<string[]> {
  const links = await ip(undefined, 'link');
  const questions = ['qdisc show dev', 'class show dev', 'filter show dev', 'filter show ingress dev'];
  const commands = links.flatMap(({ ifname }) => questions.map((words) => `${words} ${ifname}`));
  const { stdout } = await run('sh', ['-c', `printf '%s\\n' "$@" | tc -batch -`, 'sh', ...commands]);
  return [...links.map(({ ifname, ifalias, mtu }) => `${ifname} ${ifalias} ${mtu}`), ...stdout.split('\n')];
}

let cables = 0;

/** A pod with a cable, as bridge and ptp make one, and what they return. */
async function cabledPod(containerId: string, ifName = 'net1') {
  await using stack = new AsyncDisposableStack();
  const pod = stack.use(await testNamespace());
  const onNode = `cable${cables++}`;
  const words = ['link', 'add', onNode, 'mtu', '1400', 'type', 'veth', 'peer', 'name', ifName, 'netns', pod.path];
  await ip(undefined, ...words);
  stack.defer(async () => void (await ip(undefined, 'link', 'delete', onNode).catch(() => [])));
  await ip(undefined, 'link', 'set', onNode, 'up');
  await ip(pod.path, 'link', 'set', ifName, 'up');
  const owned = stack.move();
  return {
    path: pod.path,
    onNode,
    place: attachment(pod.path, { containerId, ifName }),
    network: (keys: JsonObject) =>
      config('bandwidth', {
        prevResult: {
          cniVersion: '1.1.0',
          interfaces: [{ name: onNode }, { name: ifName, sandbox: pod.path }],
          ips: [],
        },
        ...keys,
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const both = { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 16_000_000, egressBurst: 80_000 };
const subnets = ['10.0.0.0/8', 'fd00::/16'];
const shapes: readonly JsonObject[] = [
  both,
  { ...both, shapedSubnets: subnets },
  { ...both, unshapedSubnets: subnets },
  { ingressRate: 8, ingressBurst: 8 },
  { egressRate: 123, egressBurst: 456 },
  { egressRate: 400_000_000_000, egressBurst: 8000 },
  { runtimeConfig: { bandwidth: { ingressRate: 1_000_000, ingressBurst: 2_147_483_647 } } },
];

describe('bandwidth', () => {
  for (const [number, keys] of shapes.entries()) {
    test(`an ADD sets limits, CHECK finds them, and DEL takes them away, twice: ${JSON.stringify(keys)}`, async () => {
      await using pod = await cabledPod(`shape${number}`);
      const before = await nodeState();
      const network = pod.network(keys);
      const result = await runner.add(network, pod.place);
      assert.notDeepEqual(await nodeState(), before);
      await runner.check(withResult(network, result), pod.place);
      for (const _ of [1, 2]) {
        await runner.delete(withResult(network, result), pod.place);
        assert.deepEqual(await nodeState(), before);
      }
    });
  }

  test('without a limit there is nothing to do', async () => {
    await using pod = await cabledPod('none');
    const before = await nodeState();
    const network = pod.network({ ingressRate: 0, runtimeConfig: { bandwidth: both } });
    const result = await runner.add(network, pod.place);
    await runner.check(withResult(network, result), pod.place);
    assert.equal(result.interfaces.length, 2);
    assert.deepEqual(await nodeState(), before);
    await runner.delete(withResult(network, result), pod.place);
  });

  const refused: readonly { readonly keys: JsonObject; readonly message: RegExp; readonly ifName?: string }[] = [
    { keys: { ingressRate: 8000 }, message: /ingressBurst: if rate is set, burst must also be set/ },
    { keys: { egressBurst: 8000 }, message: /egressRate: if burst is set, rate must also be set/ },
    { keys: { ...both, egressRate: 7 }, message: /egressRate: expected a whole number of bits per second, at least 8/ },
    { keys: { ...both, egressBurst: 34_359_738_368 }, message: /egressBurst: burst cannot be more than 4GB/ },
    { keys: { ...both, shapedSubnets: ['10.0.0.0'] }, message: /shapedSubnets\[0\]: expected a prefix/ },
    { keys: { ...both, shapedSubnets: subnets, unshapedSubnets: subnets }, message: /cannot be both specified/ },
    {
      keys: { runtimeConfig: { bandwidth: { egressRate: 8 } } },
      message: /runtimeConfig\.bandwidth\.egressBurst: if rate/,
    },
    { keys: { ...both, prevResult: null }, message: /must be called as chained plugin/ },
    { keys: both, ifName: 'net9', message: /net9 has no veth peer/ },
    { keys: both, ifName: 'lo', message: /lo has no veth peer/ },
    { keys: both, ifName: 'inside', message: /the veth peer of inside is not in host ns/ },
    { keys: { ...both, prevResult: { cniVersion: '1.1.0' } }, message: /no interfaces provided/ },
    {
      keys: { ...both, prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'cable' }] } },
      message: /no veth peer of container interface found in host ns/,
    },
  ];
  for (const { keys, message, ifName = 'net1' } of refused) {
    test(`an ADD that is refused leaves nothing: ${message.source}`, async () => {
      await using pod = await cabledPod('refused');
      await ip(pod.path, 'link', 'add', 'inside', 'type', 'veth', 'peer', 'name', 'insidep');
      const before = await nodeState();
      await assert.rejects(runner.add(pod.network(keys), { ...pod.place, ifName }), { message });
      assert.deepEqual(await nodeState(), before);
    });
  }

  const obstacles = [
    { what: 'root qdisc', words: 'qdisc add dev CABLE root handle 7: tbf rate 1mbit burst 10kb latency 10ms' },
    { what: 'ingress qdisc', words: 'qdisc add dev CABLE ingress' },
  ];
  for (const { what, words } of obstacles) {
    test(`an ADD that finds a ${what} of somebody else's leaves that alone, and nothing of its own`, async () => {
      await using pod = await cabledPod('obstacle');
      await run('tc', words.replace('CABLE', pod.onNode).split(' '));
      const before = await nodeState();
      const message = new RegExp(`interface "${pod.onNode}": add .*: file exists`);
      await assert.rejects(runner.add(pod.network(both), pod.place), { code: 999, message });
      assert.deepEqual(await nodeState(), before);
    });
  }

  test('a second ADD is refused, and does not harm what the first made', async () => {
    await using pod = await cabledPod('again');
    const network = pod.network({ egressRate: 8_000_000, egressBurst: 80_000 });
    const result = await runner.add(network, pod.place);
    const made = await nodeState();
    await assert.rejects(runner.add(network, pod.place), { message: /failed to create ifb .*: file exists/ });
    assert.deepEqual(await nodeState(), made);
    await runner.delete(withResult(network, result), pod.place);
  });

  test('a DEL when the namespace is gone, or the cable, removes the interface that it left', async () => {
    for (const isNamespaceGone of [true, false]) {
      await using pod = await cabledPod('gone');
      await runner.add(pod.network(both), pod.place);
      await ip(undefined, 'link', 'delete', pod.onNode);
      const netns = isNamespaceGone ? '/run/netns/plx-test-none' : pod.path;
      await runner.delete(config('bandwidth', { ingressRate: 'x' }), { ...pod.place, netns });
      const left = await ip(undefined, 'link');
      assert.deepEqual(
        left.filter(({ ifname }) => /^bwp/.test(String(ifname))),
        [],
      );
    }
  });

  test('two interfaces of a pod in one network have an IFB each, and each DEL takes its own', async () => {
    await using pod = await cabledPod('twice');
    const words = ['link', 'add', 'cable-b', 'type', 'veth', 'peer', 'name', 'net2', 'netns', pod.path];
    await ip(undefined, ...words);
    const before = await nodeState();
    const prevResult = { cniVersion: '1.1.0', interfaces: [{ name: 'cable-b' }, { name: 'net2', sandbox: pod.path }] };
    const [first, second] = [pod.network(both), pod.network({ ...both, prevResult })];
    const place = { ...pod.place, ifName: 'net2' };
    const one = await runner.add(first, pod.place);
    const withOne = await nodeState();
    const two = await runner.add(second, place);
    assert.notEqual(one.interfaces[2]?.name, two.interfaces[2]?.name);
    await runner.check(withResult(second, two), place);
    await runner.delete(second, place);
    assert.deepEqual(await nodeState(), withOne);
    await runner.check(withResult(first, one), pod.place);
    await runner.delete(first, pod.place);
    assert.deepEqual(await nodeState(), before);
    await ip(undefined, 'link', 'delete', 'cable-b');
  });

  const damages = [
    ['qdisc delete dev CABLE root', /Failed to find qdisc tbf/],
    ['qdisc change dev CABLE root tbf rate 1mbit burst 100kb limit 125000', /Rate doesn't match: wanted 1000000/],
    ['qdisc delete dev CABLE ingress', /is not led through bwp/],
    ['qdisc delete dev IFB root', /Failed to find qdisc tbf/],
  ] as const;
  for (const [words, message] of damages) {
    test(`CHECK finds what was changed: ${words}`, async () => {
      await using pod = await cabledPod('check');
      const network = pod.network(both);
      const result = await runner.add(network, pod.place);
      const ifb = result.interfaces[2]?.name ?? '';
      await run('tc', words.replace('CABLE', pod.onNode).replace('IFB', ifb).split(' '));
      await assert.rejects(runner.check(withResult(network, result), pod.place), { message });
      await runner.delete(withResult(network, result), pod.place);
    });
  }

  test('CHECK finds a class or subnets that are not those of the configuration', async () => {
    await using pod = await cabledPod('classes');
    const network = pod.network({ ...both, shapedSubnets: subnets });
    const result = await runner.add(network, pod.place);
    const changes: readonly (readonly [JsonObject, RegExp])[] = [
      [{ shapedSubnets: ['10.0.0.0/8'] }, /Subnets do not match/],
      [{ ingressRate: 9_000_000 }, /Rate doesn't match: wanted 1125000, found 1000000/],
      [{ egressBurst: 160_000 }, /Buffer doesn't match/],
      [{ shapedSubnets: [], unshapedSubnets: subnets }, /Failed to find qdisc htb/],
    ];
    for (const [keys, message] of changes) {
      const changed = { ...withResult(network, result), ...keys };
      await assert.rejects(runner.check(changed, pod.place), { message });
    }
    await runner.delete(network, pod.place);
  });

  test('GC removes the IFBs of attachments that ended, and neither those of other networks nor foreign ones', async () => {
    await using stays = await cabledPod('stays');
    await using ends = await cabledPod('ends');
    await using other = await cabledPod('other');
    const elsewhere = { ...other.network(both), name: 'test-net-2' };
    const kept = await runner.add(stays.network(both), stays.place);
    const lost = await runner.add(ends.network(both), ends.place);
    const others = await runner.add(elsewhere, other.place);
    await ip(undefined, 'link', 'add', 'bwp0123456789ab', 'type', 'ifb');
    const names = async () => (await ip(undefined, 'link')).map(({ ifname }) => ifname);
    const before = await names();
    const valid = [{ containerID: 'stays', ifname: 'net1' }];
    await runner.gc(config('bandwidth', { 'cni.dev/valid-attachments': valid }), []);
    assert.deepEqual(
      await names(),
      before.filter((name) => name !== lost.interfaces[2]?.name),
    );
    await runner.check(withResult(stays.network(both), kept), stays.place);
    await runner.check(withResult(elsewhere, others), other.place);
    for (const [pod, network] of [
      [stays, stays.network(both)],
      [ends, ends.network(both)],
      [other, elsewhere],
    ] as const) {
      await runner.delete(network, pod.place);
    }
    await ip(undefined, 'link', 'delete', 'bwp0123456789ab');
  });
});
