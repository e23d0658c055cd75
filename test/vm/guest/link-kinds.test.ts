import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Link, links } from '../../../src/linux/link.ts';
import type { IpvlanFlag, IpvlanMode } from '../../../src/linux/link-kind.ts';
import { Rtnetlink } from '../../../src/linux/rtnetlink.ts';
import { testNamespace } from '../../support/namespace.ts';

/* Kinds of link that a cloud's node has, and the kernels of build machines often lack. */

/** Two namespaces: a node's, with a dummy called master that others can stand on, and a pod's. */
async function nodeAndPod() {
  const stack = new AsyncDisposableStack();
  const node = stack.use(await testNamespace());
  const pod = stack.use(await testNamespace());
  const inNode = stack.use(Rtnetlink.open(node.namespace));
  const inPod = stack.use(Rtnetlink.open(pod.namespace));
  const [, master] = await inNode.run(
    links.create({ name: 'master', kind: { type: 'dummy' }, mac: '02:00:00:00:00:01', mtu: 9001, up: true }),
    links.get({ name: 'master' }),
  );
  return {
    inNode,
    inPod,
    master,
    podNamespace: pod.namespace.fd,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const modes: readonly IpvlanMode[] = ['l2', 'l3', 'l3s'];
const flags: readonly IpvlanFlag[] = ['bridge', 'private', 'vepa'];

for (const mode of modes) {
  for (const flag of flags) {
    test(`an ipvlan of mode ${mode} ${flag} appears in the pod's namespace under its final name`, async () => {
      await using places = await nodeAndPod();
      const { inNode, inPod, master, podNamespace } = places;
      const kind = { type: 'ipvlan', mode, flag } as const;
      await inNode.run(links.create({ name: 'net1', kind, namespace: podNamespace, parent: master.index, up: true }));
      const [link] = await inPod.run(links.get({ name: 'net1' }));
      assert.equal(link.kind, 'ipvlan');
      assert.deepEqual(link.data, kind);
      assert.equal(link.parent, master.index);
      assert.equal(typeof link.parentNamespaceId, 'number');
      assert.equal(link.mac, master.mac);
      assert.equal(link.mtu, master.mtu);
      assert.equal(link.flags.up, true);
      assert.deepEqual(await namesIn(inNode), ['lo', 'master']);
    });
  }
}

test('an ipvlan takes an MTU of its own', async () => {
  await using places = await nodeAndPod();
  const { inNode, inPod, master, podNamespace } = places;
  const kind = { type: 'ipvlan', mode: 'l2', flag: 'bridge' } as const;
  const create = (name: string, mtu: number) =>
    links.create({ name, kind, namespace: podNamespace, parent: master.index, mtu });
  await inNode.run(create('net1', 1400));
  const [link] = await inPod.run(links.get({ name: 'net1' }));
  assert.equal(link.mtu, 1400);
});

test('a vlan stands on its master across namespaces', async () => {
  await using places = await nodeAndPod();
  const { inNode, inPod, master, podNamespace } = places;
  const kind = { type: 'vlan', id: 100 } as const;
  await inNode.run(links.create({ name: 'net1', kind, namespace: podNamespace, parent: master.index, mtu: 1500 }));
  const [link] = await inPod.run(links.get({ name: 'net1' }));
  assert.deepEqual(link.data, kind);
  assert.equal(link.parent, master.index);
  assert.equal(link.mtu, 1500);
  assert.deepEqual(await namesIn(inNode), ['lo', 'master']);
});

test('a vlan identifier that is taken on a master is refused with EEXIST', async () => {
  await using places = await nodeAndPod();
  const { inNode, master, podNamespace } = places;
  const vlan = (name: string) =>
    links.create({ name, kind: { type: 'vlan', id: 7 }, namespace: podNamespace, parent: master.index });
  await inNode.run(vlan('net1'));
  await assert.rejects(inNode.run(vlan('net2')), { name: 'KernelError', code: 'EEXIST' });
});

test('a dummy has the address and the MTU that it was given', async () => {
  await using places = await nodeAndPod();
  const { inNode, inPod, podNamespace } = places;
  const mac = '02:00:00:00:00:2a';
  await inNode.run(links.create({ name: 'net1', kind: { type: 'dummy' }, namespace: podNamespace, mac, mtu: 1280 }));
  const [link] = await inPod.run(links.get({ name: 'net1' }));
  assert.deepEqual(link.data, { type: 'dummy' });
  assert.deepEqual([link.mac, link.mtu, link.parent], [mac, 1280, undefined]);
});

test('links join a vrf and leave it', async () => {
  await using places = await nodeAndPod();
  const { inPod } = places;
  const [, vrf, , port] = await inPod.run(
    links.create({ name: 'red', kind: { type: 'vrf', table: 10 }, up: true }),
    links.get({ name: 'red' }),
    links.create({ name: 'net1', kind: { type: 'dummy' } }),
    links.get({ name: 'net1' }),
  );
  assert.deepEqual(vrf.data, { type: 'vrf', table: 10 });
  const masterAfter = async (master: number): Promise<Link['master']> => {
    const [, link] = await inPod.run(links.change(port.index, { master }), links.get({ index: port.index }));
    return link.master;
  };
  assert.equal(await masterAfter(vrf.index), vrf.index);
  assert.equal(await masterAfter(0), undefined);
});

test('a master takes its ipvlan and vlan links with it', async () => {
  await using places = await nodeAndPod();
  const { inNode, inPod, master, podNamespace } = places;
  const common = { namespace: podNamespace, parent: master.index };
  await inNode.run(
    links.create({ name: 'net1', kind: { type: 'ipvlan', mode: 'l3', flag: 'bridge' }, ...common }),
    links.create({ name: 'net2', kind: { type: 'vlan', id: 2 }, ...common }),
  );
  assert.deepEqual(await namesIn(inPod), ['lo', 'net1', 'net2']);
  await inNode.run(links.delete({ index: master.index }));
  assert.deepEqual(await namesIn(inPod), ['lo']);
});

async function namesIn(netlink: Rtnetlink): Promise<string[]> {
  const [all] = await netlink.run(links.list());
  return all.map(({ name }) => name).toSorted();
}
