import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { type KubernetesObject, type StoredObject, textAt } from '../../src/playground/api/object.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { applyObjects } from '../../src/playground/apply.ts';
import { observePod } from '../../src/playground/observation.ts';
import { type Playground, startPlayground } from '../../src/playground/playground.ts';
import type { Sandbox } from '../../src/playground/sandbox.ts';
import { network as networkOf, pod as podOf } from '../playground-api/manifests.ts';
import { buildShim } from '../support/shim.ts';
import { executeIn } from './support.ts';

const options = { timeout: 60_000 };

const repository = resolve(import.meta.dirname, '../..');

let playground: Playground;

before(async () => {
  playground = await startPlayground({
    nodeName: 'node-1',
    shim: await buildShim(),
    plexus: [process.execPath, join(repository, 'bin/plexus')],
    retryAfter: 20,
  });
}, options);

after(async () => {
  await playground[Symbol.asyncDispose]();
  assert.equal(existsSync(playground.directory), false);
}, options);

function network(name: string, config: object, namespace?: string): KubernetesObject {
  return networkOf(name, JSON.stringify({ cniVersion: '1.0.0', ...config }), namespace);
}

/** A pod for the scheduler. */
function pod(name: string, networks?: string, namespace?: string): KubernetesObject {
  const annotations = networks === undefined ? {} : { 'k8s.v1.cni.cncf.io/networks': networks };
  return {
    ...podOf(name, { annotations, ...(namespace && { namespace }) }),
    spec: { containers: [{ name: 'main', image: 'a' }] },
  };
}

/** Makes objects, and waits until their pods were dealt with. @returns The pods as they were made. */
async function apply(...objects: KubernetesObject[]): Promise<StoredObject[]> {
  const made = await applyObjects(playground.api.store, objects);
  await playground.kubelet.idle();
  return made.filter(({ kind }) => kind === 'Pod');
}

async function remove(...made: StoredObject[]): Promise<void> {
  for (const { metadata } of made) playground.api.store.delete(pods, metadata.namespace, metadata.name);
  await playground.kubelet.idle();
}

function sandboxOf(made: StoredObject | undefined): Sandbox {
  const state = playground.kubelet.stateOf(made?.metadata.uid ?? '');
  if (state?.phase === 'running') return state.sandbox;
  throw new Error(state?.phase === 'failed' ? state.error.message : 'the pod has no sandbox');
}

const ipam = (subnet: string, more: object = {}) => ({ type: 'host-local', subnet, ...more });

test('two pods on one network reach each other', options, async () => {
  const made = await apply(
    network('reach', { type: 'macvlan', master: 'ens6', ipam: ipam('10.77.0.0/24') }),
    pod('reach-1', 'reach'),
    pod('reach-2', 'reach'),
  );
  const [first, second] = made.map(sandboxOf);
  assert.ok(first !== undefined && second !== undefined);
  using here = NetworkNamespace.open(first.netns);
  using there = NetworkNamespace.open(second.netns);
  const server = createServer((connection) => connection.end('hello'));
  here.run(() => server.listen(0));
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  try {
    const script = `exec 3<>/dev/tcp/10.77.0.2/${address.port}; cat <&3`;
    const { stdout, stderr } = await executeIn(there, 'bash', { args: ['-c', script] });
    assert.equal(stdout, 'hello', stderr);
  } finally {
    server.close();
  }
  await remove(...made);
});

test('a pod reaches the node by its default network', options, async () => {
  const [made] = await apply(pod('default-network'));
  using namespace = NetworkNamespace.open(sandboxOf(made).netns);
  const server = createServer((connection) => connection.end('hello'));
  playground.node.namespace.run(() => server.listen(0));
  const address = server.address();
  assert.ok(made !== undefined && address !== null && typeof address === 'object');
  try {
    const script = `exec 3<>/dev/tcp/10.20.136.182/${address.port}; cat <&3`;
    const { stdout, stderr } = await executeIn(namespace, 'bash', { args: ['-c', script] });
    assert.equal(stdout, 'hello', stderr);
  } finally {
    server.close();
  }
  await remove(made);
});

test(
  'what is seen of a pod is where its interfaces lead: over a bridge, through a master, with what is routed there',
  options,
  async () => {
    const routes = [{ dst: '10.80.0.0/16', gw: '10.79.0.254' }, { dst: '10.81.0.0/16' }];
    const [made] = await apply(
      network('seen-bridge', { type: 'bridge', bridge: 'plxbr0', ipam: ipam('10.78.0.0/24') }),
      network(
        'seen-macvlan',
        { type: 'macvlan', master: 'ens7', mode: 'vepa', ipam: ipam('10.79.0.0/24', { routes }) },
        'other',
      ),
      pod('seen', 'seen-bridge@br, other/seen-macvlan@mv'),
    );
    assert.ok(made !== undefined);
    const { interfaces, attachments, pod: after } = await observePod(playground, made);
    const host = interfaces[1]?.hops[0] ?? '';
    assert.match(host, /^veth/);
    assert.deepEqual(interfaces.slice(1), [
      {
        name: 'br',
        network: 'default/seen-bridge',
        addresses: ['10.78.0.2/24'],
        kind: 'veth',
        hops: [host, 'plxbr0'],
        facts: ['10.78.0.0/24'],
        connected: true,
      },
      {
        name: 'mv',
        network: 'other/seen-macvlan',
        addresses: ['10.79.0.2/24'],
        kind: 'macvlan vepa',
        hops: ['ens7'],
        facts: ['10.79.0.0/24', '10.80.0.0/16 via 10.79.0.254', '10.81.0.0/16 via 10.79.0.1'],
        connected: true,
      },
    ]);
    assert.deepEqual(interfaces[0]?.facts, ['cluster network', 'default route']);
    assert.deepEqual(
      attachments.map(({ ifName, network: name, plugins }) => [ifName, name, plugins]),
      [
        ['eth0', 'aws-cni', 'aws-cni (executed)'],
        ['br', 'default/seen-bridge', 'bridge'],
        ['mv', 'other/seen-macvlan', 'macvlan'],
      ],
    );
    const status = after['status'];
    assert.ok(typeof status === 'object' && status !== null && 'podIP' in status);
    assert.match(String(status['podIP']), /^10\.20\.139\./);
    await remove(made);
  },
);

test('a pod that is deleted gives back its addresses', options, async () => {
  const reserved = async (): Promise<string[]> =>
    (await readdir(join(playground.directory, 'var-lib-cni/networks/given-back'))).filter((name) => /^\d/.test(name));
  const made = await apply(
    network('given-back', { type: 'macvlan', master: 'ens6', ipam: ipam('10.82.0.0/24') }),
    pod('given-back', 'given-back'),
  );
  const { pid } = sandboxOf(made[0]).pause;
  assert.deepEqual(await reserved(), ['10.82.0.2']);
  await remove(...made);
  assert.deepEqual(await reserved(), []);
  assert.equal(existsSync(`/proc/${pid}`), false);
});

test('a pod whose network is not there yet gets it once it is', options, async () => {
  const [made] = await apply(pod('early', 'late'));
  assert.ok(made !== undefined);
  const { uid } = made.metadata;
  assert.equal(playground.kubelet.stateOf(uid)?.phase, 'failed');
  await apply(network('late', { type: 'macvlan', master: 'ens6', ipam: ipam('10.83.0.0/24') }));
  while (playground.kubelet.stateOf(uid)?.phase !== 'running') await sleep(10);
  const { events, pod: seen } = await observePod(playground, made);
  const reasons = events.map((event) => textAt(event, 'reason'));
  assert.deepEqual(reasons.filter((reason) => reason === 'Scheduled').length, 1);
  assert.ok(reasons.includes('FailedCreatePodSandBox') && reasons.includes('AddedInterface'));
  assert.equal(textAt(seen, 'status.phase'), 'Running');
  await remove(made);
});

test('a pod of the same name that comes after is another: it gets a sandbox of its own', options, async () => {
  const [first] = await apply(pod('again'));
  const before = sandboxOf(first).id;
  assert.ok(first !== undefined);
  playground.api.store.delete(pods, 'default', 'again');
  const [second] = await apply(pod('again'));
  assert.notEqual(sandboxOf(second).id, before);
  assert.equal(playground.kubelet.stateOf(first.metadata.uid), undefined);
  await remove(...(second ? [second] : []));
});

test('a pod on the network of its node has nothing to attach', options, async () => {
  const made = await apply({ ...pod('host'), spec: { hostNetwork: true, containers: [] } });
  assert.deepEqual(playground.kubelet.stateOf(made[0]?.metadata.uid ?? ''), { phase: 'host' });
  await remove(...made);
});

test('a pod that is another node’s is left alone', options, async () => {
  const made = await apply({ ...pod('elsewhere'), spec: { nodeName: 'node-2', containers: [] } });
  assert.equal(playground.kubelet.stateOf(made[0]?.metadata.uid ?? ''), undefined);
  await remove(...made);
});

test('the API answers nobody who does not know its secret, on the machine or in the node', options, async () => {
  const { url } = playground.api;
  assert.equal((await fetch(`${url}/api/v1/pods`)).status, 401);
  assert.equal((await fetch(`${url}/guess/api/v1/pods`)).status, 401);
  const [, server = ''] = playground.api.kubeconfig().match(/server: (\S+)/) ?? [];
  assert.equal((await fetch(`${server}/api/v1/pods`)).status, 200);
});
