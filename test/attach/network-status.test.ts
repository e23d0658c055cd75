import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkStatus } from '../../src/attach/network-status.ts';
import type { PodLink } from '../../src/attach/pod-links.ts';
import { decodeResult } from '../../src/cni/convert.ts';
import { emptyResult, type Result } from '../../src/cni/result.ts';

const links = new Map<string, PodLink>(
  ['eth0', 'net1', 'net2'].map((name, i) => [name, { index: i + 2, name, mac: `02:00:00:00:00:0${i}`, mtu: 9001 }]),
);

const attached = (result: Result, more = {}) => ({
  network: 'default/net-a',
  ifName: 'net1',
  isDefault: false,
  result,
  ...more,
});

test("aws-cni's result shows eth0 with the kernel's MAC, and neither the host's veth nor the interface that is not there", () => {
  const result = decodeResult(
    {
      cniVersion: '0.4.0',
      interfaces: [
        { name: 'eni9fa1c7a3f2b' },
        { name: 'eth0', mac: '254', sandbox: '/run/netns/pod' },
        { name: 'dummy9fa1c7a3f2b', mac: '0', sandbox: '0' },
      ],
      ips: [{ version: '4', interface: 1, address: '10.20.139.27/32' }],
      dns: {},
    },
    '0.4.0',
    'aws-cni',
  );
  assert.deepEqual(networkStatus({ network: 'aws-cni', ifName: 'eth0', isDefault: true, result }, links), [
    {
      name: 'aws-cni',
      interface: 'eth0',
      ips: ['10.20.139.27'],
      mac: '02:00:00:00:00:00',
      mtu: 9001,
      default: true,
      dns: {},
    },
  ]);
});

test('a result without interfaces, as before 0.3.0, is the status of the interface that was asked for', () => {
  const result = decodeResult({ cniVersion: '0.2.0', ip4: { ip: '10.1.0.2/24' } }, '0.2.0', 'old');
  assert.deepEqual(networkStatus(attached(result), links), [
    { name: 'default/net-a', interface: 'net1', ips: ['10.1.0.2'], mac: '02:00:00:00:00:01', mtu: 9001, dns: {} },
  ]);
});

test('each interface of a result in the pod has an entry of its own, with its own addresses', () => {
  const result: Result = {
    ...emptyResult,
    interfaces: [
      { name: 'net1', sandbox: '/run/netns/pod' },
      { name: 'net2', sandbox: '/run/netns/pod' },
    ],
    ips: [
      { address: '10.1.0.2/24', interface: 0 },
      { address: 'fd00::2/64', interface: 1 },
    ],
    dns: { nameservers: ['10.1.0.53'], search: [] },
  };
  const statuses = networkStatus(attached(result), links);
  assert.deepEqual(
    statuses.map(({ interface: name, ips, dns }) => ({ name, ips, dns })),
    [
      { name: 'net1', ips: ['10.1.0.2'], dns: { nameservers: ['10.1.0.53'] } },
      { name: 'net2', ips: ['fd00::2'], dns: { nameservers: ['10.1.0.53'] } },
    ],
  );
});

const gatewayCases = [
  {
    what: 'a default route names its gateway',
    routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.9' }],
    gateway: ['10.1.0.9'],
  },
  {
    what: "a default route without one goes through the address's own",
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    gateway: ['10.1.0.1', 'fd00::1'],
  },
  { what: 'other routes do not count', routes: [{ dst: '10.9.0.0/16' }], gateway: undefined },
];
for (const { what, routes, gateway } of gatewayCases) {
  test(`gateway: ${what}`, () => {
    const result: Result = {
      ...emptyResult,
      ips: [
        { address: '10.1.0.2/24', gateway: '10.1.0.1' },
        { address: 'fd00::2/64', gateway: 'fd00::1' },
      ],
      routes,
    };
    const [status] = networkStatus(attached(result), links);
    assert.deepEqual(status?.gateway, gateway);
  });
}
