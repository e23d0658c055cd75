import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isJsonArray, isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import { ip as ipCommands, networkNamespace, type ParityNode, startPlexusNode } from '../parity/node.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { ip } from './support.ts';
import { connect, exchange } from './traffic.ts';

/* Two nodes at the ends of a wire, each with plugins in a process of its own, and pods on both. */

interface Pod {
  readonly node: ParityNode;
  readonly namespace: { readonly path: string };
  readonly id: string;
}

interface Place extends AsyncDisposable {
  readonly nodes: readonly [ParityNode, ParityNode];
  /** Two on each node. */
  readonly pods: readonly Pod[];
  readonly data: TestDirectory;
}

async function twoNodes(mtu: number): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const nodes = [stack.use(await startPlexusNode()), stack.use(await startPlexusNode())] as const;
  const data = stack.use(await testDirectory());
  const pods: Pod[] = [];
  for (const [index, node] of [...nodes, ...nodes].entries()) {
    pods.push({ node, namespace: stack.use(await networkNamespace()), id: `c${index + 1}` });
  }
  const [first, second] = nodes;
  await ipCommands(first.path, [
    `link add ens5 mtu ${mtu} type veth peer name ens5 netns ${second.path} mtu ${mtu}`,
    'link set ens5 up',
    'address add 192.0.2.1/24 dev ens5',
    'address add fd00:9::1/64 dev ens5',
  ]);
  await ipCommands(second.path, [
    'link set ens5 up',
    'address add 192.0.2.2/24 dev ens5',
    'address add fd00:9::2/64 dev ens5',
  ]);
  const kept = stack.move();
  return { nodes, pods, data, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Each node gives addresses of its own: 10.1.2.11 and on the first, 10.1.2.21 and on the second. */
async function call(
  place: Place,
  command: 'ADD' | 'CHECK' | 'DEL',
  pod: Pod,
  keys: JsonObject,
  prevResult?: JsonObject,
) {
  const digit = place.nodes.indexOf(pod.node) + 1;
  const ranges = ['10.1.2', 'fd00:1:'].map((start, family) => {
    const [dot, length] = family === 0 ? ['.', 24] : [':', 64];
    return [
      {
        subnet: family === 0 ? '10.1.2.0/24' : 'fd00:1::/64',
        rangeStart: `${start}${dot}${digit}1`,
        rangeEnd: `${start}${dot}${digit}9`,
        ...(length === 24 && { gateway: '10.1.2.1' }),
      },
    ];
  });
  const config = {
    cniVersion: '1.1.0',
    name: 'overlay',
    type: 'vxlan',
    ipam: { type: 'host-local', dataDir: `${place.data.path}/${digit}`, ranges },
    ...keys,
    ...(prevResult !== undefined && { prevResult }),
  };
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: pod.id,
    CNI_IFNAME: 'net1',
    CNI_NETNS: pod.namespace.path,
    CNI_ARGS: '',
  };
  const { failed, stdout } = await pod.node.call('vxlan', env, JSON.stringify(config));
  assert.equal(failed, false, stdout);
  const answer: unknown = JSON.parse(stdout || '{}');
  assert.ok(isJsonObject(answer));
  return answer;
}

const addressesOf = ({ ips }: JsonObject): string[] =>
  isJsonArray(ips) ? ips.filter(isJsonObject).map(({ address }) => String(address).replace(/\/.*/, '')) : [];

const namesOf = async ({ path }: ParityNode) => (await ip(path, 'link')).map(({ ifname }) => ifname);

const networks: readonly { readonly over: string; readonly keys: JsonObject; readonly mtu: number }[] = [
  { over: 'IPv4, to a list of nodes', keys: { remotes: ['192.0.2.1', '192.0.2.2'], master: 'ens5' }, mtu: 1450 },
  { over: 'IPv4, to a group', keys: { group: '239.1.1.1', local: '192.0.2.0/24', ttl: 4 }, mtu: 1450 },
  { over: 'IPv6, to a list of nodes', keys: { remotes: ['fd00:9::1', 'fd00:9::2'], local: 'fd00:9::/64' }, mtu: 1430 },
  {
    over: 'IPv6, without an address of its own',
    keys: { remotes: ['fd00:9::1', 'fd00:9::2'], master: 'ens5' },
    mtu: 1430,
  },
  { over: 'IPv6, to a group', keys: { group: 'ff05::114', master: 'ens5' }, mtu: 1430 },
  {
    over: 'IPv4, without learning, on another port and with an MTU',
    keys: { remotes: ['192.0.2.2', '192.0.2.1'], master: 'ens5', learning: false, dstport: 8472, mtu: 1300 },
    mtu: 1300,
  },
];

describe('vxlan', () => {
  for (const { over, keys, mtu } of networks) {
    test(`pods on two nodes exchange packets of any size over ${over}`, async () => {
      await using place = await twoNodes(1500);
      const { nodes, pods } = place;
      const before = await Promise.all(nodes.map(namesOf));
      const told = { vni: 7000, ...keys };
      const results: JsonObject[] = [];
      for (const pod of pods) results.push(await call(place, 'ADD', pod, told));
      for (const [index, pod] of pods.entries()) await call(place, 'CHECK', pod, told, results[index]);
      const [link] = await ip(pods[0]?.namespace.path, 'link', 'show', 'net1');
      assert.equal(link?.['mtu'], mtu);

      const [here, there, besides] = pods;
      assert.ok(here && there && besides);
      for (const [from, to, result] of [
        [here, there, results[1]],
        [there, here, results[0]],
        [here, besides, results[2]],
      ] as const) {
        for (const address of addressesOf(result ?? {})) {
          assert.match(await connect(from.namespace.path, to.namespace.path, address), /^(10\.1\.2|fd00:1:)/);
          for (const packet of [100, mtu, 5000]) {
            await exchange(from.namespace.path, to.namespace.path, address, packet);
          }
        }
      }

      // One device and one bridge for both pods of a node, until the last one goes.
      for (const node of nodes) {
        const names = await namesOf(node);
        assert.deepEqual(names.filter((name) => /^plx/.test(`${name}`)).toSorted(), ['plxbr7000', 'plxvx7000']);
      }
      for (const pod of pods.slice(2)) await call(place, 'DEL', pod, told);
      for (const address of addressesOf(results[1] ?? {})) {
        await exchange(here.namespace.path, there.namespace.path, address, mtu);
      }
      for (const pod of pods) await call(place, 'DEL', pod, told);
      assert.deepEqual(await Promise.all(nodes.map(namesOf)), before);
    });
  }

  test('pods of two networks on the same nodes do not reach each other', async () => {
    await using place = await twoNodes(1500);
    const [here, there, , other] = place.pods;
    assert.ok(here && there && other);
    const remotes = ['192.0.2.1', '192.0.2.2'];
    await call(place, 'ADD', here, { vni: 1, remotes, master: 'ens5' });
    const reached = await call(place, 'ADD', there, { vni: 1, remotes, master: 'ens5' });
    const missed = await call(place, 'ADD', other, { vni: 2, remotes, master: 'ens5' });
    assert.equal(await connect(here.namespace.path, there.namespace.path, addressesOf(reached)[0] ?? ''), '10.1.2.11');
    const [address = ''] = addressesOf(missed);
    await assert.rejects(exchange(here.namespace.path, other.namespace.path, address, 100, 8), /does not come back/);
  });

  test('with a larger MTU between the nodes, that of the pods is larger, too', async () => {
    await using place = await twoNodes(9000);
    const [here, there] = place.pods;
    assert.ok(here && there);
    const told = { vni: 16_777_215, remotes: ['192.0.2.1', '192.0.2.2'], local: '192.0.2.0/24' };
    await call(place, 'ADD', here, told);
    const result = await call(place, 'ADD', there, told);
    for (const packet of [8950, 20_000]) {
      await exchange(here.namespace.path, there.namespace.path, addressesOf(result)[0] ?? '', packet);
    }
    const [link] = await ip(there.namespace.path, 'link', 'show', 'net1');
    assert.equal(link?.['mtu'], 8950);
  });
});
