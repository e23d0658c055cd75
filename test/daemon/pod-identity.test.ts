import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import type { Answer } from '../../src/daemon/frame.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { until } from '../kubernetes/playground.ts';
import { onEachServer } from '../kubernetes/server.ts';
import { pod } from '../playground-api/manifests.ts';
import { ip } from '../plugins/support.ts';
import { testNamespace } from '../support/namespace.ts';
import { addWire, becomeNode } from '../support/node.ts';
import { type ClusterNode, startClusterNode } from './cluster-node.ts';

becomeNode();
before(async () => {
  await ip(undefined, 'link', 'set', 'lo', 'up');
  await addWire('ens5');
  await addWire('ens6');
});

const options = { timeout: 60_000 };

const networks = { 'k8s.v1.cni.cncf.io/networks': 'net-a' };
const ordinary = pod('app', { annotations: networks });

/** A static pod's UID is a hash of its file; its mirror has the kubelet's four annotations (kubelet_pods.go, config/common.go). */
const hash = '0123456789abcdef0123456789abcdef';
const mirror = pod('app', {
  annotations: {
    ...networks,
    'kubernetes.io/config.hash': hash,
    'kubernetes.io/config.mirror': hash,
    'kubernetes.io/config.source': 'file',
    'kubernetes.io/config.seen': '2026-01-01T00:00:00Z',
  },
});

const nothing = { links: [], addresses: [], journal: [] };
const all = ['eth0', 'net1'];

/** The pod under the name at an ADD, and what becomes of it. */
const cases: ReadonlyArray<{
  readonly what: string;
  readonly object: typeof ordinary;
  /** Before the ADD. */
  readonly first?: (node: ClusterNode) => Promise<void>;
  /** As the status is on its way. */
  readonly meanwhile?: (node: ClusterNode) => Promise<void>;
  /** The UID that the runtime gives; unless told that of the pod at the beginning. */
  readonly uid?: string | ((node: ClusterNode) => Promise<string>);
  /** Why the ADD fails; absent where it does not. */
  readonly refused?: RegExp;
  /** Whether the pod that has the name in the end is told of the networks. */
  readonly told: boolean;
}> = [
  { what: 'a pod', object: ordinary, told: true },
  { what: 'a pod whose runtime gives no UID', object: ordinary, uid: '', told: true },
  { what: "a static pod, by the mirror's annotation", object: mirror, uid: hash, told: true },
  {
    what: "a static pod by its mirror's own UID, which no runtime knows",
    object: mirror,
    refused: new RegExp(`belongs to the pod with UID [-0-9a-f]{36}, the Kubernetes API has one with UID ${hash}`),
    told: false,
  },
  {
    what: 'a static pod whose file was changed meanwhile',
    object: mirror,
    uid: 'fedcba9876543210fedcba9876543210',
    refused: /belongs to the pod with UID fedcba9876543210fedcba9876543210/,
    told: false,
  },
  {
    what: 'a static pod whose mirror was not made yet',
    object: mirror,
    uid: hash,
    first: (node) => node.admin.delete(pods, 'default', 'app'),
    refused: /pod default\/app does not exist/,
    told: false,
  },
  {
    what: 'a static pod whose mirror is made anew meanwhile',
    object: mirror,
    uid: hash,
    meanwhile: replace(mirror),
    told: true,
  },
  {
    what: 'a pod that is gone',
    object: ordinary,
    first: (node) => node.admin.delete(pods, 'default', 'app'),
    refused: /pod default\/app does not exist/,
    told: false,
  },
  {
    what: 'a pod that is gone, of which the runtime gives no UID',
    object: ordinary,
    uid: '',
    first: (node) => node.admin.delete(pods, 'default', 'app'),
    refused: /pod default\/app does not exist/,
    told: false,
  },
  {
    what: 'a pod that another has replaced',
    object: ordinary,
    first: replace(ordinary),
    refused: /pod default\/app: the sandbox belongs to the pod with UID/,
    told: false,
  },
  {
    what: 'a pod that has replaced another, of which the watch does not know yet',
    object: pod('app'),
    first: async (node) => {
      node.proxy.freezeWatches();
      await replace(ordinary)(node);
    },
    uid: uidNow,
    told: true,
  },
  {
    what: 'a pod that is deleted meanwhile',
    object: ordinary,
    meanwhile: (node) => node.admin.delete(pods, 'default', 'app'),
    told: false,
  },
  { what: 'a pod that is replaced meanwhile', object: ordinary, meanwhile: replace(ordinary), told: false },
  {
    what: 'a pod that is replaced by a static one meanwhile',
    object: ordinary,
    meanwhile: replace(mirror),
    told: false,
  },
];

function replace(by: typeof ordinary): (node: ClusterNode) => Promise<void> {
  return async ({ admin }) => {
    await admin.delete(pods, 'default', 'app');
    await admin.create(by);
  };
}

/** What was done to the pod reaches the daemon a moment later: before that, it was done meanwhile as far as an ADD knows. */
async function untilRefused(node: ClusterNode, uid: string): Promise<Answer> {
  let answer = await node.call('ADD', { uid });
  await until(async () => {
    if (answer.exitStatus !== 0) return true;
    await node.call('DEL', { uid });
    answer = await node.call('ADD', { uid });
    return false;
  });
  return answer;
}

async function uidNow({ admin }: ClusterNode): Promise<string> {
  return (await admin.get(pods, 'default', 'app')).metadata.uid;
}

await onEachServer((server) => {
  for (const { what, object, first, meanwhile, uid, refused, told } of cases) {
    test(
      `ADD of ${what} ${refused ? 'is refused' : `attaches it, and ${told ? 'tells' : 'does not tell'} the pod of the name`}`,
      options,
      async () => {
        await using node = await startClusterNode(server, object);
        const { admin, proxy } = node;
        const original = await uidNow(node);
        await first?.(node);
        const given = typeof uid === 'function' ? await uid(node) : (uid ?? original);
        if (meanwhile) proxy.fault({ match: (method) => method === 'PATCH', met: () => meanwhile(node) });

        const { exitStatus, stdout } = await (refused ? untilRefused(node, given) : node.call('ADD', { uid: given }));
        if (refused) {
          assert.equal(exitStatus, 1, stdout);
          const { code, msg } = JSON.parse(stdout);
          assert.equal(code, 11, 'the runtime is to try again');
          assert.match(msg, refused);
          assert.deepEqual(await node.held(), nothing);
        } else {
          assert.equal(exitStatus, 0, stdout);
          assert.notDeepEqual(JSON.parse(stdout).ips ?? [], []);
          assert.deepEqual((await node.held()).links, all);
        }
        const exists = (await admin.find(pods, 'default', 'app')) !== undefined;
        assert.deepEqual(exists ? await node.status() : [], told ? await node.interfaces() : []);

        assert.deepEqual(await node.call('DEL', { uid: given }), { exitStatus: 0, stdout: '' });
        assert.deepEqual(await node.held(), nothing);
        if (!refused) assert.ok(!node.lines.some(({ level }) => Number(level) >= 50), 'nothing of it is an error');
      },
    );
  }

  test('DEL of a sandbox whose pod was replaced takes nothing of the new one', options, async () => {
    await using node = await startClusterNode(server, ordinary);
    await using second = await testNamespace();
    assert.equal((await node.call('ADD', { uid: await uidNow(node) })).exitStatus, 0);
    const before = await node.held();
    await replace(ordinary)(node);
    const renewed = { sandbox: second, containerId: 'sandbox-2', uid: await uidNow(node) };
    const { exitStatus, stdout } = await node.call('ADD', renewed);
    assert.equal(exitStatus, 0, stdout);
    const status = await node.status();
    assert.deepEqual(status, await node.interfaces(second));

    assert.deepEqual(await node.call('DEL'), { exitStatus: 0, stdout: '' });
    assert.deepEqual((await node.held()).links, []);
    const after = await node.held(second);
    assert.deepEqual(after.links, all);
    assert.equal(after.addresses.length, before.addresses.length);
    assert.deepEqual(await node.status(), status);
    assert.deepEqual(await node.call('DEL', renewed), { exitStatus: 0, stdout: '' });
    assert.deepEqual(await node.held(second), nothing);
  });

  test('an ADD that waits for the mirror of a static pod succeeds once there is one', options, async () => {
    await using node = await startClusterNode(server, mirror);
    await node.admin.delete(pods, 'default', 'app');
    assert.equal((await node.call('ADD', { uid: hash })).exitStatus, 1);
    assert.deepEqual(await node.call('DEL', { uid: hash }), { exitStatus: 0, stdout: '' });
    await node.admin.create(mirror);
    assert.equal((await node.call('ADD', { uid: hash })).exitStatus, 0);
    assert.deepEqual(await node.status(), await node.interfaces());
    const about = async () => (await node.events()).filter((event) => event.startsWith('AddedInterface'));
    await until(async () => (await about()).length === 2);
  });
});
