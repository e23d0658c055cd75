import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../src/cni/json.ts';
import { type Environment, ip, mustRun, type ParityNode, startPlexusNode } from '../parity/node.ts';
import { stateOf } from '../plugins/support.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';

/* Plugins that make more than one thing, killed in the midst of making them: another process must find all of it. */

const plugins: readonly { readonly type: string; readonly keys: JsonObject }[] = [
  { type: 'vxlan', keys: { vni: 7, remotes: ['192.0.2.2', '192.0.2.3'], master: 'ens5' } },
  { type: 'tap', keys: { mtu: 1300, bridge: 'br0', owner: 107 } },
];

/** More steps than any ADD has. */
const maxSteps = 100;

/** One ADD by a process that ends at a step. @returns Whether it has ended before it answered. */
async function addAndDie(node: ParityNode, step: number, line: string): Promise<boolean> {
  const program = ['--import', join(import.meta.dirname, 'kill.ts'), join(import.meta.dirname, '../parity/plexus.ts')];
  const child = spawn('nsenter', [`--net=${node.path}`, process.execPath, ...program], {
    env: { ...process.env, KILL_AT_STEP: String(step) },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  child.stdin.on('error', () => undefined); // it may be gone before it has read everything
  child.stdin.end(`${line}\n`);
  child.stdout.resume();
  await ended;
  return child.signalCode === 'SIGKILL';
}

describe('plugins', () => {
  for (const { type, keys } of plugins) {
    for (const isNamespaceGone of [false, true]) {
      const end = isNamespaceGone ? ', without a namespace' : '';
      test(`${type} killed at any step of an ADD: a DEL by another process${end} leaves nothing`, {
        timeout: 180_000,
      }, async (t) => {
        await using node = await startPlexusNode();
        await ip(node.path, ['link add ens5 type veth peer name ens5p', 'link set ens5 up', 'link set ens5p up']);
        await using data = await testDirectory();
        const config = {
          cniVersion: '1.1.0',
          name: 'test-net',
          type,
          ipam: { type: 'host-local', subnet: '10.1.2.0/24', dataDir: data.path },
          ...keys,
        };
        const stdin = JSON.stringify(config);
        const before = await stateOf(node.path);
        let killed = 0;
        for (let step = 1; step < maxSteps; step++) {
          const pod = await testNamespace();
          await ip(pod.path, ['link add br0 address 02:00:00:00:00:01 type bridge']);
          const inPod = await stateOf(pod.path);
          const env: Environment = {
            CNI_COMMAND: 'ADD',
            CNI_CONTAINERID: 'c1',
            CNI_IFNAME: 'net1',
            CNI_NETNS: pod.path,
            CNI_ARGS: '',
            CNI_PATH: '/nowhere',
          };
          const isKilled = await addAndDie(node, step, JSON.stringify({ plugin: type, env, stdin }));
          if (isNamespaceGone) await pod[Symbol.asyncDispose]();
          const { failed, stdout } = await node.call(type, { ...env, CNI_COMMAND: 'DEL' }, stdin);
          assert.equal(failed, false, `step ${step}: ${stdout}`);
          if (!isNamespaceGone) {
            assert.deepEqual(await stateOf(pod.path), inPod, `step ${step}`);
            await pod[Symbol.asyncDispose]();
          }
          // A cable that was not marked yet goes with the namespace that its other end was in, when the kernel comes to it.
          const isLeaving = (link: string) => /^interface veth/.test(link) && isNamespaceGone;
          while ((await stateOf(node.path)).some(isLeaving)) await sleep(20);
          assert.deepEqual(await stateOf(node.path), before, `step ${step}`);
          const reserved = await readdir(join(data.path, 'test-net')).catch(() => []);
          assert.deepEqual(
            reserved.filter((name) => /^\d/.test(name)),
            [],
            `step ${step}`,
          );
          if (!isKilled) break;
          killed++;
        }
        t.diagnostic(`killed at ${killed} steps`);
        assert.ok(killed > 5 && killed < maxSteps - 1, `${killed} steps`);
      });
    }
  }

  test('bandwidth killed at any step of an ADD: a DEL by another process leaves no limit', {
    timeout: 180_000,
  }, async (t) => {
    await using node = await startPlexusNode();
    const limits = { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 };
    const before = await limitsOf(node.path);
    let killed = 0;
    for (let step = 1; step < maxSteps; step++) {
      const pod = await testNamespace();
      await ip(pod.path, [`link add net1 type veth peer name cable netns ${node.path}`]);
      const interfaces = [{ name: 'cable' }, { name: 'net1', sandbox: pod.path }];
      const prevResult = { cniVersion: '1.1.0', interfaces };
      const config = { cniVersion: '1.1.0', name: 'test-net', type: 'bandwidth', prevResult, ...limits };
      const stdin = JSON.stringify({ ...config, shapedSubnets: ['10.0.0.0/8'] });
      const env: Environment = {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: 'c1',
        CNI_IFNAME: 'net1',
        CNI_NETNS: pod.path,
        CNI_ARGS: '',
        CNI_PATH: '/nowhere',
      };
      const isKilled = await addAndDie(node, step, JSON.stringify({ plugin: 'bandwidth', env, stdin }));
      const { failed, stdout } = await node.call('bandwidth', { ...env, CNI_COMMAND: 'DEL' }, stdin);
      assert.equal(failed, false, `step ${step}: ${stdout}`);
      assert.deepEqual(await limitsOf(node.path), before, `step ${step}`);
      await ip(node.path, ['link delete cable']);
      await pod[Symbol.asyncDispose]();
      if (!isKilled) break;
      killed++;
    }
    t.diagnostic(`killed at ${killed} steps`);
    assert.ok(killed > 5 && killed < maxSteps - 1, `${killed} steps`);
  });
});

/** The queues and IFBs of a node. */
async function limitsOf(path: string): Promise<readonly string[]> {
  const script = 'tc qdisc show | grep -E "htb|tbf|ingress"; ip -o link show type ifb; true';
  return (await mustRun(path, ['sh', '-c', script])).split('\n');
}
