import type { JsonObject } from '../../../src/cni/json.ts';
import { type ParityCase, type Refusal, refusals } from '../case.ts';

const plugin = 'vrf';

/** A pod with net1 and net2 as plugins before left them. */
const pod = ['net1', 'net2'].flatMap((name, at) => [
  `link add ${name} type veth peer name ${name}p`,
  `link set ${name} up`,
  `link set ${name}p up`,
  `address add 10.${at + 1}.2.9/24 dev ${name}`,
  `address add fd00:${at + 1}::9/64 dev ${name} nodad`,
  `route add 10.9.${at}.0/24 via 10.${at + 1}.2.1 dev ${name}`,
  `route add fd09:${at}::/64 via fd00:${at + 1}::1 dev ${name}`,
]);

const prevResultOf = (name: string): JsonObject => ({
  cniVersion: '1.1.0',
  interfaces: [{ name, mac: '02:00:00:00:01:01', sandbox: '<pod>' }],
  ips: [{ address: '10.1.2.9/24', gateway: '10.1.2.1', interface: 0 }],
});

const base: JsonObject = { vrfname: 'blue', prevResult: prevResultOf('net1') };

const second = { ifName: 'net2', config: { prevResult: prevResultOf('net2') } } as const;
const secondInRed = { ifName: 'net2', config: { ...second.config, vrfname: 'red', table: 1234 } } as const;

type Case = Omit<ParityCase, 'plugin' | 'config'> & { readonly config?: JsonObject };

const cases: readonly Case[] = [
  { tries: 'an interface of a new VRF' },
  {
    tries: 'cniVersion 0.4.0',
    config: { cniVersion: '0.4.0', prevResult: { ...prevResultOf('net1'), cniVersion: '0.4.0' } },
  },
  {
    tries: 'the first table that no VRF has',
    pod: ['link add red type vrf table 1', 'link add green type vrf table 2', 'link set red up'],
  },
  {
    tries: 'two interfaces of one VRF, which goes with the last',
    steps: [
      { call: 'ADD' },
      { call: 'ADD', ...second },
      { call: 'DEL' },
      { call: 'CHECK', ...second },
      { call: 'DEL', ...second },
    ],
    differences: ['vrf-link-local'],
  },
  {
    tries: 'two VRFs, one with a table that is given',
    steps: [{ call: 'ADD' }, { call: 'ADD', ...secondInRed }, { call: 'DEL' }, { call: 'DEL', ...secondInRed }],
  },
  {
    tries: 'a VRF that was there, with its table',
    config: { table: 55 },
    pod: ['link add blue type vrf table 55', 'link set blue up'],
  },
  {
    tries: 'an interface that left the VRF',
    steps: [{ call: 'ADD' }, { pod: ['link set net1 nomaster'] }, { call: 'CHECK', error: /net1/ }, { call: 'DEL' }],
  },
  {
    tries: 'a VRF that is gone',
    steps: [
      { call: 'ADD' },
      { pod: ['link delete blue'] },
      { call: 'CHECK', error: /blue|not found/i },
      { call: 'DEL' },
    ],
  },
  {
    tries: 'a DEL when the interface is gone',
    steps: [{ call: 'ADD' }, { pod: ['link delete net1'] }, { call: 'DEL', error: /net1/ }],
    differences: ['vrf-del'],
  },
  { tries: 'a DEL when the namespace is gone', steps: [{ call: 'DEL', netns: '/run/netns/plx-none' }] },
];

interface VrfRefusal extends Refusal {
  /** What is in the pod besides. */
  readonly pod?: readonly string[];
}

const refused: readonly VrfRefusal[] = [
  {
    tries: 'no name',
    keys: { vrfname: '' },
    error: /vrf ?name/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a table that is no number',
    keys: { table: 'x' },
    error: /table/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a name that is an interface of another kind',
    keys: { vrfname: 'net2' },
    error: /net2 is not a VRF/,
    differences: ['vrf-del'],
  },
  {
    tries: 'a VRF with another table',
    keys: { table: 7 },
    pod: ['link add blue type vrf table 55'],
    error: /different routing table 55/,
    differences: ['configuration-code'],
  },
  {
    tries: 'an interface that has a master',
    keys: {},
    pod: ['link add br0 type bridge', 'link set net1 master br0'],
    error: /already a master set: br0/,
    differences: ['nothing-half-made', 'vrf-del'],
  },
];

export const vrfCases: readonly ParityCase[] = [
  ...cases.map((each) => ({
    ...each,
    plugin,
    config: { ...base, ...each.config },
    pod: [...pod, ...(each.pod ?? [])],
  })),
  ...refused.flatMap((each) =>
    refusals(plugin, base, [each]).map((parityCase) => ({ ...parityCase, pod: [...pod, ...(each.pod ?? [])] })),
  ),
  ...refusals(plugin, { vrfname: 'blue' }, [
    { tries: 'no prevResult', keys: {}, error: /missing prevResult/, differences: ['configuration-code'] },
  ]),
  ...refusals(plugin, base, [
    {
      tries: 'an interface that is not there',
      keys: {},
      error: /net1/,
      differences: ['nothing-half-made', 'vrf-del'],
    },
  ]),
];
