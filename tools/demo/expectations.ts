import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { at, listAt, textAt } from '../../src/playground/api/object.ts';
import type { PodObservation } from '../../src/playground/observation.ts';

/** One thing that the walk-through promises. */
export interface Check {
  readonly promise: string;
  /** Absent: it is kept. */
  readonly found?: string;
}

export const nodeName = 'ip-10-20-136-182.ap-northeast-2.compute.internal';

const expectedEvents = [
  ['Normal', 'Scheduled', 'default-scheduler', `Successfully assigned default/sampleapp-1 to ${nodeName}`],
  ['Normal', 'AddedInterface', 'multus', 'Add eth0 [10.20.139.27/32] from aws-cni'],
  ['Normal', 'AddedInterface', 'multus', 'Add net1 [100.64.30.10/19] from default/ipvlan-conf-1'],
];

const expectedNetworks = [
  { name: 'aws-cni', interface: 'eth0', ips: ['10.20.139.27'], mtu: 9001, default: true },
  { name: 'default/ipvlan-conf-1', interface: 'net1', ips: ['100.64.30.10'], mtu: 9001, default: false },
];

const networkStatusSchema = z.array(
  z.object({
    name: z.string(),
    interface: z.string(),
    ips: z.array(z.string()),
    mac: z.string(),
    mtu: z.number(),
    default: z.boolean().default(false),
  }),
);

/** What `ip -d address` must say of each interface, whatever else it says. */
const expectedLinks: Readonly<Record<string, readonly string[]>> = {
  lo: ['inet 127.0.0.1/8'],
  eth0: ['BROADCAST,MULTICAST,UP,LOWER_UP', 'mtu 9001', 'link-netnsid 0', 'veth', 'inet 10.20.139.27/32'],
  net1: [
    'BROADCAST,MULTICAST,UP,LOWER_UP',
    'mtu 9001',
    'ipvlan  mode l2 bridge',
    'inet 100.64.30.10/19 brd 100.64.31.255 scope global net1',
  ],
};

/** Holds what became of the pod against the walk-through. */
export function checkPod(observation: PodObservation): Check[] {
  return [
    ...checkEvents(observation),
    ...checkNetworkStatus(observation),
    ...checkAddresses(observation),
    ...checkStatus(observation),
  ];
}

function checkEvents({ events }: PodObservation): Check[] {
  const columns = ['type', 'reason', 'source.component', 'message'];
  const found = events.map((event) => columns.map((column) => textAt(event, column)));
  return [
    ...expectedEvents.map((expected, index) =>
      check(`event: ${expected.join('  ')}`, isDeepStrictEqual(found[index], expected), found[index]?.join('  ')),
    ),
    check('no other event', found.length <= expectedEvents.length, `${found.length} events`),
  ];
}

function checkNetworkStatus({ networkStatus, addresses = '' }: PodObservation): Check[] {
  const parsed = networkStatusSchema.safeParse(jsonOf(networkStatus));
  const entries = parsed.success ? parsed.data : [];
  const macs = entries.map(({ mac }) => mac);
  const found = entries.map(({ mac: _, ...entry }) => entry);
  return [
    check(
      'network-status: aws-cni on eth0, the default, and default/ipvlan-conf-1 on net1, with their addresses',
      isDeepStrictEqual(found, expectedNetworks),
      networkStatus,
    ),
    check(
      "network-status: the interfaces' real MAC addresses",
      macs.every((mac) => addresses.includes(`link/ether ${mac} `)),
      macs.join(', '),
    ),
  ];
}

function checkAddresses({ addresses = '' }: PodObservation): Check[] {
  // One text for each interface, from its number to the next one's.
  const texts = addresses.split(/^(?=\d+: )/m);
  return Object.entries(expectedLinks).flatMap(([name, expected]) => {
    const text = texts.find((each) => each.match(/^\d+: ([^:@]+)/)?.[1] === name) ?? '';
    return expected.map((part) =>
      check(
        `ip -d address: ${name}: ${part}`,
        new RegExp(`[\\s<]${RegExp.escape(part)}[\\s>]`).test(text),
        text || 'no such interface',
      ),
    );
  });
}

function checkStatus({ pod, interfaces }: PodObservation): Check[] {
  const names = interfaces.map(({ name }) => name).join(', ');
  const ready = listAt(pod, 'status.containerStatuses').map((status) => at(status, 'ready'));
  return [
    check("pod: its IP is eth0's", textAt(pod, 'status.podIP') === '10.20.139.27', textAt(pod, 'status.podIP')),
    check('pod: Running', textAt(pod, 'status.phase') === 'Running', textAt(pod, 'status.phase')),
    check('pod: READY 1/1', isDeepStrictEqual(ready, [true]), JSON.stringify(ready)),
    check('pod: eth0 and net1, and nothing else', names === 'eth0, net1', names),
  ];
}

/** Holds what kubectl printed against what it would print on EKS. */
export function checkKubectl(get: string, describe: string): Check[] {
  return [
    check('kubectl get pods: 1/1 Running', /^sampleapp-1 +1\/1 +Running +0 +\S+$/m.test(get), get),
    ...expectedEvents.map(([type, reason, from, message = '']) =>
      check(
        `kubectl describe pod: ${reason}: ${message}`,
        new RegExp(`^  ${type} +${reason} +\\S+ +${from} +${RegExp.escape(message)}$`, 'm').test(describe),
        describe,
      ),
    ),
    check('kubectl describe pod: IP', /^IP: +10\.20\.139\.27$/m.test(describe), describe),
  ];
}

export function check(promise: string, isKept: boolean, found: string | undefined): Check {
  return isKept ? { promise } : { promise, found: found ?? 'nothing' };
}

function jsonOf(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}
