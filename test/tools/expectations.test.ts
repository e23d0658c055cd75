import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DrawnInterface } from '../../src/observe/follow.ts';
import { type StoredObject, textAt } from '../../src/playground/api/object.ts';
import type { PodObservation } from '../../src/playground/observation.ts';
import { checkKubectl, checkPod, nodeName } from '../../tools/demo/expectations.ts';

const metadata = { name: 'sampleapp-1', namespace: 'default', uid: 'u', resourceVersion: '1', creationTimestamp: '' };

function event(reason: string, component: string, message: string, type = 'Normal'): StoredObject {
  return { apiVersion: 'v1', kind: 'Event', metadata, type, reason, message, source: { component } };
}

const events = [
  event('Scheduled', 'default-scheduler', `Successfully assigned default/sampleapp-1 to ${nodeName}`),
  event('AddedInterface', 'multus', 'Add eth0 [10.20.139.27/32] from aws-cni'),
  event('AddedInterface', 'multus', 'Add net1 [100.64.30.10/19] from default/ipvlan-conf-1'),
];

const networkStatus = JSON.stringify([
  {
    name: 'aws-cni',
    interface: 'eth0',
    ips: ['10.20.139.27'],
    mac: '02:00:00:00:00:01',
    mtu: 9001,
    default: true,
    dns: {},
  },
  {
    name: 'default/ipvlan-conf-1',
    interface: 'net1',
    ips: ['100.64.30.10'],
    mac: '02:00:00:00:00:02',
    mtu: 9001,
    dns: {},
  },
]);

const addresses = `1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN
    inet 127.0.0.1/8 scope host lo
2: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc noqueue state UP
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    veth numtxqueues 2
    inet 10.20.139.27/32 scope global eth0
4: net1@if4: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9001 qdisc noqueue state UNKNOWN
    link/ether 02:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    ipvlan  mode l2 bridge numtxqueues 1
    inet 100.64.30.10/19 brd 100.64.31.255 scope global net1
       valid_lft forever preferred_lft forever`;

const drawn = (name: string): DrawnInterface => ({
  name,
  addresses: [],
  kind: '',
  hops: [],
  network: '',
  facts: [],
  connected: true,
});

const promised: PodObservation = {
  pod: {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    status: { phase: 'Running', podIP: '10.20.139.27', containerStatuses: [{ ready: true }] },
  },
  state: undefined,
  events,
  networkStatus,
  addresses,
  interfaces: [drawn('eth0'), drawn('net1')],
  attachments: [],
};

const broken = (observation: PodObservation): string[] =>
  checkPod(observation).flatMap(({ promise, found }) => (found === undefined ? [] : promise));

test('what the walk-through promises keeps every promise', () => {
  assert.deepEqual(broken(promised), []);
});

const withStatus = (status: object): PodObservation => ({
  ...promised,
  pod: {
    ...promised.pod,
    status: { phase: 'Running', podIP: '10.20.139.27', containerStatuses: [{ ready: true }], ...status },
  },
});

const differences: Readonly<Record<string, readonly [observation: PodObservation, promise: RegExp]>> = {
  'an event that is missing': [{ ...promised, events: events.slice(0, 2) }, /^event: .*Add net1/],
  'an event in the name of another': [
    {
      ...promised,
      events: [
        ...events.slice(0, 2),
        event('AddedInterface', 'plexus', 'Add net1 [100.64.30.10/19] from default/ipvlan-conf-1'),
      ],
    },
    /^event: .*Add net1/,
  ],
  'an event more': [{ ...promised, events: [...events, event('Failed', 'kubelet', '', 'Warning')] }, /^no other event/],
  'no annotation': [{ ...promised, networkStatus: undefined }, /^network-status: aws-cni/],
  'an annotation with the interface that does not exist': [
    {
      ...promised,
      networkStatus: JSON.stringify([
        ...JSON.parse(networkStatus),
        { name: 'aws-cni', interface: 'dummya3a334378a4', ips: [], mac: '02:00:00:00:00:02', mtu: 9001 },
      ]),
    },
    /^network-status: aws-cni/,
  ],
  "a route table's number for a MAC address": [
    { ...promised, networkStatus: networkStatus.replace('02:00:00:00:00:01', '254') },
    /^network-status: the interfaces' real MAC/,
  ],
  'another mode': [
    { ...promised, addresses: addresses.replace('mode l2', 'mode l3') },
    /net1: ipvlan {2}mode l2 bridge/,
  ],
  'another broadcast address': [
    { ...promised, addresses: addresses.replace('100.64.31.255', '100.64.63.255') },
    /net1: inet 100\.64\.30\.10/,
  ],
  'another MTU on one of them': [
    {
      ...promised,
      addresses: addresses.replace(
        'LOWER_UP> mtu 9001 qdisc noqueue state UP',
        'LOWER_UP> mtu 1500 qdisc noqueue state UP',
      ),
    },
    /eth0: mtu 9001/,
  ],
  'a longer prefix on eth0 that begins alike': [
    { ...promised, addresses: addresses.replace('10.20.139.27/32', '10.20.139.27/3') },
    /eth0: inet 10\.20\.139\.27\/32/,
  ],
  'a pod that is not ready': [withStatus({ containerStatuses: [{ ready: false }] }), /^pod: READY/],
  'a pod that does not run': [withStatus({ phase: 'Pending' }), /^pod: Running/],
  'another IP': [withStatus({ podIP: '100.64.30.10' }), /^pod: its IP/],
  'an interface more': [{ ...promised, interfaces: [...promised.interfaces, drawn('net2')] }, /^pod: eth0 and net1/],
};

for (const [what, [observation, promise]] of Object.entries(differences)) {
  test(`${what} breaks a promise, and only that`, () => {
    const found = broken(observation);
    assert.equal(found.length, 1, found.join('\n'));
    assert.match(found[0] ?? '', promise);
  });
}

test('what kubectl prints is held against the promises as well', () => {
  const get = 'NAME          READY   STATUS    RESTARTS   AGE\nsampleapp-1   1/1     Running   0          2s\n';
  const lines = events.map((each) => {
    const [type, reason, component, message] = ['type', 'reason', 'source.component', 'message'].map((path) =>
      textAt(each, path),
    );
    return `  ${type}  ${reason}  2s  ${component}  ${message}`;
  });
  const describe = ['IP:           10.20.139.27', ...lines, ''].join('\n');
  const brokenOf = (...texts: [string, string]) => checkKubectl(...texts).filter(({ found }) => found !== undefined);
  assert.deepEqual(brokenOf(get, describe), []);
  assert.equal(brokenOf(get.replace('1/1', '0/1'), describe).length, 1);
  assert.equal(brokenOf(get, describe.replace('Add net1', 'Add net2')).length, 1);
});
