import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestedCapabilities } from '../../../src/attach/capabilities.ts';
import { requireClaimReader } from '../../../src/attach/ipam-claim.ts';
import { parseNetworks } from '../../../src/attach/selection.ts';
import { parseNetworkConfig } from '../../../src/cni/config.ts';
import { CniError } from '../../../src/cni/error.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import type { Result } from '../../../src/cni/result.ts';
import { becomeNodeWith } from '../../support/node.ts';
import { macvlan, startNode } from '../node.ts';

/* What a pod asks of a network, as capabilities: specification v1.3 of the Network Plumbing Working Group, 4.1.2.1. */

becomeNodeWith('ens5', 'ens6');

const portMappings = [{ hostPort: 80, containerPort: 8080, protocol: 'tcp' }];
const bandwidth = { ingressRate: 1_000_000, ingressBurst: 8_000 };
const guid = '24:8a:07:03:00:8d:ae:2e';
const mac = '02:00:00:00:00:01';

/** Of each key: a value, the capability, the value that plugins are told, and what the message says to do. */
const keys: readonly (readonly [key: string, value: JsonObject[string], capability: string, remedy: string])[] = [
  ['ips', ['10.1.0.9'], 'ips', 'the plugin whose ipam is static or host-local'],
  ['mac', mac, 'mac', 'the plugin that makes the interface, or to tuning'],
  ['portMappings', portMappings, 'portMappings', 'a plugin portmap at the end of the chain'],
  ['bandwidth', bandwidth, 'bandwidth', 'a plugin bandwidth at the end of the chain'],
  ['infiniband-guid', guid, 'infinibandGUID', 'the plugin ib-sriov'],
  ['device-id', '0000:00:06.0', 'deviceID', 'the plugin that takes the device, such as host-device or sriov'],
];

const asking = (request: JsonObject) => {
  const [selection] = parseNetworks(JSON.stringify([{ name: 'net-a', ...request }]), 'app');
  return selection ?? assert.fail();
};

const listOf = (...plugins: readonly JsonObject[]) =>
  parseNetworkConfig(JSON.stringify({ cniVersion: '1.0.0', name: 'net-a', plugins }), 'the test');

for (const [key, value, capability, remedy] of keys) {
  test(`NPWG v1.3 §4.1.2.1 "${key}": goes to the plugins that declare ${capability}, and to no other`, async () => {
    const plugin = (capabilities: JsonObject) => ({ type: 'faulty', capabilities });
    await using node = await startNode(() => ({
      networks: JSON.stringify([{ name: 'net-a', [key]: value }]),
      definitions: {
        'net-a': {
          cniVersion: '1.0.0',
          plugins: [plugin({ [capability]: true }), plugin({ [capability]: false }), plugin({})],
        },
      },
    }));
    const interfaces = [{ name: 'net1', mac, sandbox: node.sandbox.path }];
    node.faults.result = { interfaces, ips: [{ address: '10.1.0.9/24', interface: 0 }], routes: [], dns: {} };
    await node.add();
    assert.deepEqual(
      node.configs.map(({ runtimeConfig }) => runtimeConfig),
      [{ [capability]: value }, undefined, undefined],
    );
    await node.remove();
  });

  test(`NPWG v1.3 §4.1.2.1 "${key}": is refused where no plugin declares ${capability}`, () => {
    assert.throws(
      () => requestedCapabilities(asking({ [key]: value }), listOf({ type: 'macvlan' }, { type: 'other' })),
      (error) => {
        assert.ok(error instanceof CniError);
        assert.equal(
          error.message,
          `the pod asks for "${key}", but no plugin of the network (macvlan, other) declares the capability "${capability}"`,
        );
        assert.equal(
          error.details,
          `add "capabilities": { "${capability}": true } to ${remedy}, or remove "${key}" from the annotation`,
        );
        assert.equal(error.code, 7);
        return true;
      },
    );
  });
}

const heedless: readonly (readonly [
  section: string,
  what: string,
  element: JsonObject,
  given: Partial<Result>,
  told: string,
])[] = [
  [
    '4.1.2.1.3 "ips"',
    'another address',
    { ips: ['10.1.0.9'] },
    { ips: [{ address: '10.1.0.2/24' }] },
    '"ips" 10.1.0.9, but the network gave 10.1.0.2',
  ],
  [
    '4.1.2.1.3 "ips"',
    'no address',
    { ips: ['10.1.0.9', 'fd00::9/64'] },
    {},
    '"ips" 10.1.0.9, fd00::9/64, but the network gave none',
  ],
  [
    '4.1.2.1.3 "ips"',
    'one address of two',
    { ips: ['10.1.0.9', 'fd00::9'] },
    { ips: [{ address: '10.1.0.9/24' }, { address: 'fd00::8/64' }] },
    '"ips" fd00::9, but the network gave 10.1.0.9, fd00::8',
  ],
  [
    '4.1.2.1.4 "mac"',
    'another address',
    { mac },
    { interfaces: [{ name: 'net1', mac: '02:00:00:00:00:02', sandbox: '/run/netns/pod' }] },
    `"mac" ${mac}, but the network gave 02:00:00:00:00:02`,
  ],
];

for (const [section, what, element, given, told] of heedless) {
  test(`NPWG v1.3 §${section}: a plugin that declares the capability and gives ${what} fails the pod`, async () => {
    const capabilities = { ips: true, mac: true };
    await using node = await startNode(() => ({
      networks: JSON.stringify([{ name: 'net-a', ...element }]),
      definitions: { 'net-a': { cniVersion: '1.0.0', type: 'faulty', capabilities } },
    }));
    const before = await node.state();
    node.faults.result = { interfaces: [], ips: [], routes: [], dns: {}, ...given };
    await assert.rejects(node.add(), { code: 7 });
    assert.ok(
      (await node.events(2))
        .at(-1)
        ?.startsWith(`FailedAddingInterface: network default/net-a, interface net1: the pod asks for ${told} (`),
    );
    assert.deepEqual(await node.state(), before);
  });
}

test('NPWG v1.3 §4.1.2.1.3 "ips": are given however they are written', async () => {
  await using node = await startNode(() => ({
    networks: '[{"name":"net-a","ips":["FD00:0::9/64"],"mac":"02-00-00-00-00-0A"}]',
    definitions: { 'net-a': { cniVersion: '1.0.0', type: 'faulty', capabilities: { ips: true, mac: true } } },
  }));
  const interfaces = [{ name: 'net1', mac: '02:00:00:00:00:0A', sandbox: node.sandbox.path }];
  node.faults.result = { interfaces, ips: [{ address: 'fd00::9/64' }], routes: [], dns: {} };
  await node.add();
  await node.remove();
});

test('NPWG v1.3 §4.1.2.1: all that cannot be given is told at once', () => {
  const request = asking({ ips: ['10.1.0.9'], mac, bandwidth });
  assert.throws(() => requestedCapabilities(request, listOf({ type: 'macvlan', capabilities: { ips: true } })), {
    message:
      'the pod asks for "mac" and "bandwidth", but no plugin of the network (macvlan) declares the capability "mac" and "bandwidth"',
  });
});

test('NPWG v1.3 §4.1.2.1: empty lists and what is left out ask for nothing', () => {
  assert.deepEqual(requestedCapabilities(asking({ ips: [], portMappings: [], mac: '' }), listOf({ type: 'x' })), {});
});

test('CNI conventions: a capability that a plugin switches off, or that is nothing but a name, is not declared', () => {
  for (const capabilities of [{ mac: false }, {}, null]) {
    assert.throws(
      () => requestedCapabilities(asking({ mac }), listOf({ type: 'x', capabilities })),
      /capability "mac"/,
    );
  }
});

test("OVN-Kubernetes' plugin reads the annotation itself, claims included", () => {
  const list = listOf({ type: 'ovn-k8s-cni-overlay', topology: 'layer2', capabilities: { mac: true } });
  assert.deepEqual(requestedCapabilities(asking({ ips: ['10.1.0.9'], mac }), list), { mac });
  requireClaimReader(asking({ 'ipam-claim-reference': 'vm.a' }), list);
});

test('NPWG v1.3 §4.1.2.1 "ipam-claim-reference": is refused where no plugin keeps addresses by claims', () => {
  const request = asking({ 'ipam-claim-reference': 'vm.a' });
  assert.throws(() => requireClaimReader(request, listOf({ type: 'macvlan' })), {
    code: 7,
    message:
      'the pod asks for "ipam-claim-reference", but no plugin of the network (macvlan) keeps addresses by claims',
    details:
      'name a network whose plugin does ("type": "ovn-k8s-cni-overlay", or "allowPersistentIPs": true), or remove "ipam-claim-reference" from the annotation',
  });
  requireClaimReader(request, listOf({ type: 'macvlan' }, { type: 'other', allowPersistentIPs: true }));
});

test('NPWG v1.3 §4.1.2.1 "cni-args": reach every plugin of the chain as args.cni, over the network\'s own, and no other key', async () => {
  await using node = await startNode(() => ({
    networks: '[{"name":"net-a","cni-args":{"vlan":7,"__proto__":{"x":1}}}]',
    definitions: {
      'net-a': {
        cniVersion: '1.0.0',
        plugins: [{ type: 'faulty', args: { cni: { vlan: 1, keep: true }, own: 1 } }, { type: 'faulty' }],
      },
    },
  }));
  await node.add();
  const expected = { vlan: 7, ['__proto__']: { x: 1 } };
  assert.deepEqual(
    node.configs.map(({ args }) => args),
    [{ own: 1, cni: { keep: true, ...expected } }, { cni: expected }],
  );
  await node.remove();
});

test("NPWG v1.3 §3.4: what the runtime asks, known or not, reaches the default network's plugins that declare it, and those alone", async () => {
  const capabilities = { 'io.kubernetes.cri.pod-annotations': true, portMappings: true };
  const given = { 'io.kubernetes.cri.pod-annotations': { a: 'b' }, portMappings };
  await using node = await startNode((ipam) => ({
    networks: 'net-a,net-b',
    defaultNetwork: {
      cniVersion: '1.0.0',
      name: 'cluster-net',
      plugins: [{ type: 'faulty', capabilities }, { type: 'faulty' }],
    },
    definitions: {
      'net-a': { cniVersion: '1.0.0', type: 'faulty', capabilities },
      'net-b': macvlan(ipam, '10.1.0.0/24'),
    },
    runtimeConfig: { ...given, unasked: true },
  }));
  await node.add();
  assert.deepEqual(
    node.configs.map(({ runtimeConfig }) => runtimeConfig),
    [given, undefined, undefined],
  );
  await node.remove();
});

test('NPWG v1.3 §4.1.2.1: a pod that asks for what its network cannot give is told by an event, and gets nothing', async () => {
  await using node = await startNode((ipam) => ({
    networks: '[{"name":"net-a","ips":["10.1.0.9"]}]',
    definitions: { 'net-a': macvlan(ipam, '10.1.0.0/24') },
  }));
  const before = await node.state();
  await assert.rejects(node.add(), { code: 7 });
  assert.deepEqual(await node.events(1), [
    'FailedAddingInterface: network default/net-a: the pod asks for "ips", but no plugin of the network (macvlan) declares the capability "ips" ' +
      '(add "capabilities": { "ips": true } to the plugin whose ipam is static or host-local, or remove "ips" from the annotation)',
  ]);
  assert.deepEqual(await node.state(), before);
});
