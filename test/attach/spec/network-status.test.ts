import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { networkStatus } from '../../../src/attach/network-status.ts';
import type { PodLink } from '../../../src/attach/pod-links.ts';
import { decodeResult } from '../../../src/cni/convert.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import { Recording } from '../../../src/journal/journal.ts';
import { ip } from '../../plugins/support.ts';
import { becomeNodeWith } from '../../support/node.ts';
import { macvlan, type Node, type NodeOptions, startNode } from '../node.ts';

/* The network-status annotation: specification v1.3 of the Network Plumbing Working Group, section 5. */

becomeNodeWith('ens5', 'ens6');

const macOf = (place: number): string => `02:00:00:00:00:0${place}`;

/** The pod's interfaces as the kernel has them. */
const links = new Map<string, PodLink>(
  ['eth0', 'net1', 'net2'].map((name, place) => [
    name,
    { index: place + 2, name, mac: macOf(place), mtu: 1400 + place },
  ]),
);

const pod = '/run/netns/pod';

interface Case {
  readonly section: string;
  readonly what: string;
  readonly result: JsonObject;
  readonly ifName?: string;
  readonly isDefault?: boolean;
  readonly more?: { readonly deviceInfo: JsonObject };
  readonly status: readonly object[];
}

const net1 = { name: 'default/a', interface: 'net1', mac: macOf(1), mtu: 1401, dns: {} };

const cases: readonly Case[] = [
  {
    section: '5.3',
    what: 'every key that a result has, addresses without their prefix lengths',
    result: {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'net1', mac: macOf(1), sandbox: pod }],
      ips: [
        { address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 0 },
        { address: 'fd00::2/64', gateway: 'fd00::1', interface: 0 },
      ],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0', gw: 'fd00::9' }, { dst: '10.9.0.0/16', gw: '10.1.0.7' }],
      dns: { nameservers: ['10.1.0.53'], domain: 'a.example', search: ['example'], options: ['ndots:5'] },
    },
    status: [
      {
        ...net1,
        ips: ['10.1.0.2', 'fd00::2'],
        gateway: ['10.1.0.1', 'fd00::9'],
        dns: { nameservers: ['10.1.0.53'], domain: 'a.example', search: ['example'], options: ['ndots:5'] },
      },
    ],
  },
  { section: '5.1.1', what: 'no result but an empty one: an entry all the same', result: {}, status: [net1] },
  {
    section: '5.1.1',
    what: 'a result of an old version, without interfaces',
    result: { cniVersion: '0.2.0', ip4: { ip: '10.1.0.2/24', routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }] } },
    status: [{ ...net1, ips: ['10.1.0.2'], gateway: ['10.1.0.1'] }],
  },
  {
    section: '5.2',
    what: 'the default network, and it alone, is the default',
    result: { cniVersion: '1.0.0', interfaces: [{ name: 'net1', sandbox: pod }] },
    isDefault: true,
    status: [{ ...net1, default: true }],
  },
  {
    section: '5.3.2',
    what: 'one entry for each interface in the pod, that of the attachment first, each with its own addresses',
    result: {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'veth7' }, { name: 'net2', sandbox: pod }, { name: 'net1', sandbox: pod }],
      ips: [
        { address: '10.1.0.2/24', interface: 1 },
        { address: '10.1.0.3/24', interface: 2 },
      ],
    },
    isDefault: true,
    status: [
      { ...net1, ips: ['10.1.0.3'], default: true },
      { name: 'default/a', interface: 'net2', mac: macOf(2), mtu: 1402, dns: {}, ips: ['10.1.0.2'] },
    ],
  },
  {
    section: '5.3.5',
    what: 'a default network whose result does not name what it was asked for is the default all the same',
    result: { cniVersion: '1.0.0', interfaces: [{ name: 'net2', sandbox: pod }] },
    ifName: 'eth7',
    isDefault: true,
    status: [{ name: 'default/a', interface: 'net2', mac: macOf(2), mtu: 1402, dns: {}, default: true }],
  },
  {
    section: '5.3.3.1',
    what: 'addresses of no interface, and of one below zero, are of the first interface in the pod',
    result: {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'veth7' }, { name: 'net1', sandbox: pod }],
      ips: [{ address: '10.1.0.2/24' }, { address: '10.1.0.3/24', interface: -1 }],
    },
    status: [{ ...net1, ips: ['10.1.0.2', '10.1.0.3'] }],
  },
  {
    section: '5.3.3.1',
    what: "addresses of the node's end are not the pod's",
    result: {
      cniVersion: '1.0.0',
      interfaces: [{ name: 'veth7' }, { name: 'net1', sandbox: pod }],
      ips: [{ address: '169.254.1.1/32', interface: 0 }],
    },
    status: [net1],
  },
  {
    section: '5.3.4',
    what: "aws-cni: the kernel's MAC instead of a route table's number, and no interface that is not there",
    result: {
      cniVersion: '0.4.0',
      interfaces: [
        { name: 'eni9fa1c7a3f2b' },
        { name: 'eth0', mac: '254', sandbox: pod },
        { name: 'dummy9fa1c7a3f2b', mac: '0', sandbox: '0' },
      ],
      ips: [{ version: '4', interface: 1, address: '10.20.139.27/32' }],
      dns: {},
    },
    ifName: 'eth0',
    isDefault: true,
    status: [
      { name: 'default/a', interface: 'eth0', ips: ['10.20.139.27'], mac: macOf(0), mtu: 1400, default: true, dns: {} },
    ],
  },
  {
    section: '5.3.4',
    what: 'an interface that the kernel does not have keeps the MAC of the result, where that is one',
    result: { cniVersion: '1.0.0', interfaces: [{ name: 'net7', mac: '02:00:5E:00:00:07', sandbox: pod }] },
    ifName: 'net7',
    status: [{ name: 'default/a', interface: 'net7', mac: '02:00:5e:00:00:07', dns: {} }],
  },
  {
    section: '5.3.4',
    what: 'and nothing where it is none',
    result: { cniVersion: '1.0.0', interfaces: [{ name: 'net7', mac: '254', sandbox: pod }] },
    ifName: 'net7',
    status: [{ name: 'default/a', interface: 'net7', dns: {} }],
  },
  {
    section: '5.3 "gateway"',
    what: 'a default route of another table is none',
    result: {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'net1', sandbox: pod }],
      ips: [{ address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 0 }],
      routes: [{ dst: '0.0.0.0/0', table: 100 }],
    },
    status: [{ ...net1, ips: ['10.1.0.2'] }],
  },
  {
    section: '5.3 "device-info"',
    what: 'what is told of the device, with the first interface',
    result: {
      cniVersion: '1.0.0',
      interfaces: [
        { name: 'net1', sandbox: pod },
        { name: 'net2', sandbox: pod },
      ],
    },
    more: { deviceInfo: { type: 'pci', version: '1.1.0', pci: { 'pci-address': '0000:00:06.0' } } },
    status: [
      { ...net1, 'device-info': { type: 'pci', version: '1.1.0', pci: { 'pci-address': '0000:00:06.0' } } },
      { name: 'default/a', interface: 'net2', mac: macOf(2), mtu: 1402, dns: {} },
    ],
  },
];

for (const { section, what, result, ifName = 'net1', isDefault = false, more = {}, status } of cases) {
  test(`NPWG v1.3 §${section}: ${what}`, () => {
    const decoded = decodeResult(result, '1.0.0', 'the test');
    const network = { network: 'default/a', ifName, isDefault, result: decoded, ...more };
    assert.deepEqual(networkStatus(network, links), status);
  });
}

/** An executed plugin that answers as aws-cni does, and keeps what it is given at DEL. */
const likeAws = `#!/bin/sh
pod="nsenter --net=$CNI_NETNS ip"
case $CNI_COMMAND in
ADD)
  $pod link add "$CNI_IFNAME" mtu 9001 type veth peer name other >&2 &&
  echo '{"cniVersion":"0.4.0","interfaces":[{"name":"eni1"},{"name":"'"$CNI_IFNAME"'","mac":"254","sandbox":"'"$CNI_NETNS"'"},
    {"name":"dummy1","mac":"0","sandbox":"0"}],"ips":[{"version":"4","interface":1,"address":"10.20.139.27/32"}],"dns":{}}' ;;
DEL)
  cat > "$(dirname "$0")/deleted"
  $pod link del "$CNI_IFNAME" ;;
esac
`;

async function prepared(options: (ipam: JsonObject) => NodeOptions): Promise<Node> {
  const node = await startNode(options);
  await writeFile(join(node.directory, 'aws-like'), likeAws, { mode: 0o755 });
  return node;
}

describe('what is really in the pod', () => {
  test('NPWG v1.3 §5: is told, while DEL is given what the plugin answered', async () => {
    await using node = await prepared((ipam) => ({
      networks: 'a',
      definitions: { a: macvlan(ipam, '10.1.0.0/24', { mtu: 1300 }) },
      defaultNetwork: { cniVersion: '0.4.0', name: 'aws-cni', plugins: [{ type: 'aws-like' }] },
    }));
    await node.add();
    const [, eth0, net] = (await ip(node.sandbox.path, 'link')).filter(({ ifname }) => ifname !== 'other');
    assert.deepEqual(node.networkStatus(), [
      {
        name: 'aws-cni',
        interface: 'eth0',
        ips: ['10.20.139.27'],
        mac: eth0?.['address'],
        mtu: 9001,
        default: true,
        dns: {},
      },
      { name: 'default/a', interface: 'net1', ips: ['10.1.0.2'], mac: net?.['address'], mtu: 1300, dns: {} },
    ]);
    await node.remove();
    const { prevResult } = JSON.parse(await readFile(join(node.directory, 'deleted'), 'utf8'));
    assert.partialDeepStrictEqual(prevResult.interfaces, [
      { name: 'eni1' },
      { name: 'eth0', mac: '254' },
      { name: 'dummy1', mac: '0', sandbox: '0' },
    ]);
  });

  test('NPWG v1.3 §5: other annotations of the pod stay as they are, and a conflict is tried again', async () => {
    await using node = await prepared(() => ({ annotations: { own: 'kept' } }));
    node.api.fault({ match: (method) => method === 'PATCH', times: 3, fail: 'Conflict' });
    await node.add();
    assert.equal(node.networkStatus().length, 1);
    assert.equal((await node.cluster.pod('default', 'app')).metadata.annotations['own'], 'kept');
    await node.remove();
  });
});

const failures: readonly (readonly [what: string, fail: (t: TestContext, node: Node) => void, event: RegExp])[] = [
  [
    'a full disk that has no room for the last line of the journal',
    (t) => {
      const note = Recording.prototype.note;
      t.mock.method(Recording.prototype, 'note', function (this: Recording, ...[step]: Parameters<typeof note>) {
        if (step.step !== 'complete') return note.call(this, step);
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' });
      });
    },
    /^FailedAddingInterface: the journal of the daemon cannot be written: ENOSPC: no space left on device, write \(see the disk of the node that has the "stateDir" of the daemon: it is full, read-only, or fails\)$/,
  ],
  [
    'a disk that fails when the journal is synced',
    (t) => {
      t.mock.method(Recording.prototype, 'sync', async () => {
        throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', syscall: 'fdatasync' });
      });
    },
    /^FailedAddingInterface: the journal of the daemon cannot be written: EIO: i\/o error, fdatasync \(see the disk/,
  ],
  [
    'an API server that refuses it',
    (_, node) => node.api.fault({ match: (method) => method === 'PATCH', fail: 'Forbidden' }),
    /^FailedAddingInterface: the annotation k8s\.v1\.cni\.cncf\.io\/network-status of the pod cannot be written: PATCH .*403 Forbidden: .* \(see that the API server can be reached from the node, and that the role of the daemon may patch pods\/status\)$/,
  ],
];

describe('a pod whose ADD was undone has no status', () => {
  for (const [what, fail, event] of failures) {
    test(`NPWG v1.3 §5: ${what}`, async (t) => {
      await using node = await prepared((ipam) => ({
        networks: 'a',
        definitions: { a: macvlan(ipam, '10.1.0.0/24') },
      }));
      const before = await node.state();
      fail(t, node);
      await assert.rejects(node.add());
      assert.match((await node.events(3)).at(-1) ?? '', event);
      assert.deepEqual(node.networkStatus(), []);
      t.mock.restoreAll();
      assert.deepEqual(await node.state(), before);
    });
  }
});
