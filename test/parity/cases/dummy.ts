import { type ParityCase, type Refusal, refusals } from '../case.ts';

const plugin = 'dummy';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const both = {
  type: 'host-local',
  ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  routes: [{ dst: '10.9.0.0/16' }, { dst: '::/0' }],
};

const lifecycles: readonly ParityCase[] = [
  ...['0.2.0', '0.4.0', '1.1.0'].map((cniVersion) => ({
    plugin,
    tries: `addresses of both families in cniVersion ${cniVersion}`,
    config: { cniVersion, ipam: both },
  })),
  {
    plugin,
    tries: "the IPAM plugin's dns",
    config: {
      ipam: {
        type: 'static',
        addresses: [{ address: '10.1.2.9/24', gateway: '10.1.2.1' }],
        dns: { domain: 'example' },
      },
    },
  },
  {
    plugin,
    tries: "dns in the place of the IPAM plugin's",
    differences: ['dummy-dns'],
    config: { dns: { nameservers: ['10.1.2.53'] }, ipam },
  },
];

const refused: readonly Refusal[] = [
  {
    tries: 'no ipam',
    keys: { ipam: {} },
    error: /ipam\.type|requires an IPAM configuration/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'an IPAM plugin that is nowhere',
    keys: { ipam: { type: 'nowhere' } },
    error: /"nowhere"/,
    delError: /"nowhere"/,
  },
  {
    tries: 'a route that the kernel refuses',
    keys: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    error: /network is unreachable/,
  },
];

export const dummyCases: readonly ParityCase[] = [
  ...lifecycles,
  ...refusals(plugin, { ipam }, refused),
  {
    plugin,
    tries: 'a name that is taken in the pod',
    differences: ['address-early'],
    pod: ['link add net1 type ifb'],
    config: { ipam },
    steps: [{ call: 'ADD', error: /net1.*exists|file exists/ }],
  },
  {
    plugin,
    tries: 'a namespace that is gone, and none at all',
    differences: ['namespace-code'],
    config: { ipam },
    steps: [
      { call: 'ADD', netns: '/run/netns/plx-none', error: /failed to open netns/ },
      { call: 'ADD' },
      { call: 'DEL', netns: '' },
      { call: 'DEL', netns: '/run/netns/plx-none' },
    ],
  },
  {
    plugin,
    tries: 'a CHECK after it went down, and after an address and the interface were lost',
    config: { ipam },
    steps: [
      { call: 'ADD' },
      { pod: ['link set net1 down'] },
      { call: 'CHECK', error: /is down/ },
      { pod: ['link set net1 up', 'address flush dev net1'] },
      { call: 'CHECK', error: /Failed to match addr/ },
      { pod: ['link del net1', 'link add net1 type ifb'] },
      { call: 'CHECK', error: /Mac|not of type dummy|Failed to match addr/ },
      { pod: ['link del net1'] },
      { call: 'CHECK', error: /not found/ },
      { call: 'DEL' },
    ],
  },
  {
    plugin,
    tries: 'a CHECK after a route was lost',
    differences: ['dummy-check'],
    config: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16' }] } },
    steps: [{ call: 'ADD' }, { pod: ['route del 10.9.0.0/16'] }, { call: 'CHECK' }],
  },
  {
    plugin,
    tries: 'STATUS, GC and VERSION',
    differences: ['gc'],
    config: { ipam },
    steps: [
      { call: 'VERSION' },
      { call: 'STATUS' },
      { call: 'STATUS', config: { ipam: { type: 'nowhere' } }, error: /nowhere/ },
      { call: 'ADD' },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [] } },
    ],
  },
];
