import { type ParityCase, type Refusal, refusals, versions, wire, wrongValues } from '../case.ts';
import type { DifferenceId } from '../differences.ts';

const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };

const lifecycles: readonly ParityCase[] = [
  {
    plugin: 'macvlan',
    tries: 'addresses of both families, with routes and dns',
    config: {
      master: 'ens5',
      dns: { nameservers: ['10.1.2.53'], domain: 'example', search: ['a', 'b'], options: ['ndots:2'] },
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }, { dst: '10.9.0.0/16', gw: '10.1.2.9' }],
      },
    },
  },
  {
    plugin: 'macvlan',
    tries: 'routes with table, priority and scope',
    differences: ['check-route-table'],
    config: {
      master: 'ens5',
      ipam: {
        ...ipam,
        routes: [
          { dst: '10.9.0.0/16', gw: '10.1.2.9', table: 100, priority: 50 },
          { dst: '10.10.0.0/16', gw: '10.1.2.9', priority: 7 },
          { dst: '10.11.0.0/16', table: 101 },
        ],
      },
    },
  },
  {
    plugin: 'macvlan',
    tries: 'a route of scope link without a gateway',
    differences: ['route-scope-link'],
    config: { master: 'ens5', ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', scope: 253 }] } },
  },
  {
    plugin: 'macvlan',
    tries: 'a route with mtu and advmss',
    differences: ['route-metrics'],
    config: { master: 'ens5', ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', mtu: 1300, advmss: 1200 }] } },
  },
  { plugin: 'macvlan', tries: 'no ipam', config: { master: 'ens5' } },
  { plugin: 'macvlan', tries: 'no ipam, with dns', config: { master: 'ens5', dns: { domain: 'example' } } },
  {
    plugin: 'macvlan',
    tries: 'the master of the default route',
    node: [...wire('ens5'), 'address add 10.1.1.2/24 dev ens5', 'route add default via 10.1.1.1'],
    config: { ipam },
  },
  {
    plugin: 'macvlan',
    tries: 'a master in the pod',
    pod: wire('eth0'),
    config: { master: 'eth0', linkInContainer: true, ipam },
  },
  {
    plugin: 'macvlan',
    tries: 'an MTU and a queue length',
    config: { master: 'ens5', mtu: 1400, bcqueuelen: 5000, ipam },
  },
  { plugin: 'macvlan', tries: "the master's MTU", node: wire('ens5', { mtu: 9001 }), config: { master: 'ens5', ipam } },
  {
    plugin: 'macvlan',
    tries: 'keys in another case',
    config: { MASTER: 'ens5', Mode: 'vepa', IPAM: { ...ipam, dataDir: '<data>' } },
  },
  ...['', 'bridge', 'private', 'vepa', 'passthru'].map((mode) => ({
    plugin: 'macvlan',
    tries: `mode "${mode}"`,
    config: { master: 'ens5', mode, ipam },
  })),
  ...versions.map((cniVersion) => ({
    plugin: 'macvlan',
    tries: `cniVersion ${cniVersion}`,
    config: {
      cniVersion,
      master: 'ens5',
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
      dns: { domain: 'example' },
    },
  })),
];

const macs: readonly ParityCase[] = [
  { keys: { mac: '02:00:00:00:00:0A' }, args: '' },
  { keys: { mac: '02:00:00:00:00:0a' }, args: 'MAC=02:00:00:00:00:0b' },
  { keys: { mac: '02:00:00:00:00:0a', runtimeConfig: { mac: '02:00:00:00:00:0c' } }, args: 'MAC=02:00:00:00:00:0b' },
  { keys: {}, args: 'IgnoreUnknown=1;MAC=02:00:00:00:00:0b;K8S_POD_NAME=p' },
].map(({ keys, args }) => ({
  plugin: 'macvlan',
  tries: `the MAC address of ${JSON.stringify(keys)} and CNI_ARGS "${args}"`,
  config: { master: 'ens5', ...keys },
  steps: [
    { call: 'ADD', args },
    { call: 'CHECK', args },
    { call: 'DEL', args },
  ],
}));

const nothingReserved: readonly DifferenceId[] = ['configuration-code', 'no-empty-directory'];

const refused: readonly Refusal[] = [
  { tries: 'a master that does not exist', keys: { master: 'ens9' }, error: /not found/, differences: nothingReserved },
  {
    tries: 'no master and no default route',
    keys: { master: '' },
    error: /no default route interface found/,
    differences: nothingReserved,
  },
  {
    tries: "an MTU above the master's",
    keys: { mtu: 1501 },
    error: /invalid MTU 1501, must be \[0, master MTU\(1500\)\]/,
    differences: nothingReserved,
  },
  { tries: 'an unknown mode', keys: { mode: 'l2' }, error: /mode.*l2/, differences: nothingReserved },
  { tries: 'a MAC address that is none', keys: { mac: '02:00' }, error: /02:00/, differences: nothingReserved },
  {
    tries: 'an argument that nobody knows',
    keys: {},
    args: 'FOO=1',
    error: /ARGS: unknown args \["FOO=1"\]/,
    differences: ['no-empty-directory'],
  },
  { tries: 'no name', keys: { name: '' }, error: /missing network name/, delError: /missing network name/ },
  {
    tries: 'an unknown version',
    keys: { cniVersion: '9.9.9' },
    error: /incompatible CNI versions/,
    delError: /incompatible CNI versions/,
  },
  {
    tries: 'version 0.2.0 without an address',
    keys: { cniVersion: '0.2.0', ipam: {} },
    error: /cannot convert: no valid IP addresses/,
    differences: ['nothing-half-made'],
  },
  {
    tries: 'an IPAM plugin that is nowhere',
    keys: { ipam: { type: 'nowhere' } },
    error: /"nowhere"/,
    delError: /"nowhere"/,
    differences: ['nothing-half-made'],
  },
  {
    tries: 'a subnet that is too small',
    keys: { ipam: { ...ipam, subnet: '10.1.2.0/31' } },
    error: /too small/,
    differences: ['nothing-half-made', 'del-broken-configuration'],
  },
  {
    tries: 'a route that the kernel refuses',
    keys: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    error: /network is unreachable/,
    differences: ['nothing-half-made'],
  },
];

export const macvlanCases: readonly ParityCase[] = [
  ...lifecycles,
  ...macs,
  ...refusals('macvlan', { master: 'ens5', ipam }, refused),
  wrongValues(
    'macvlan',
    { master: 'ens5', ipam },
    {
      master: [7, ['ens5']],
      mode: [7],
      mtu: ['1400', -1, 1.5],
      mac: [7, '02:00:00:00:00:zz'],
      linkInContainer: ['yes'],
      bcqueuelen: ['5000', -1],
      dns: ['10.1.2.53', { nameservers: '10.1.2.53' }],
      ipam: ['host-local', { type: 7 }],
      runtimeConfig: [{ mac: 7 }],
    },
  ),
  {
    plugin: 'macvlan',
    tries: 'a name that is taken',
    differences: ['address-early'],
    config: { master: 'ens5', ipam },
    steps: [{ call: 'ADD' }, { call: 'ADD', id: 'c2', error: /net1.*exists|net1.*file exists/ }, { call: 'DEL' }],
  },
  {
    plugin: 'macvlan',
    tries: 'an interface name that is too long, and one that is none',
    config: { master: 'ens5' },
    steps: [
      { call: 'ADD', ifName: 'a-name-that-is-too-long', error: /interface name is too long/ },
      { call: 'ADD', ifName: 'a/b', error: /interface name contains/ },
    ],
  },
  {
    plugin: 'macvlan',
    tries: 'a namespace that is gone, and none at all',
    differences: ['namespace-code'],
    config: { master: 'ens5', ipam },
    steps: [
      { call: 'ADD', netns: '/run/netns/plx-none', error: /failed to open netns.*\/run\/netns\/plx-none/ },
      { call: 'ADD', netns: '', error: /required env variables \[CNI_NETNS\] missing/ },
      { call: 'ADD' },
      { call: 'DEL', netns: '' },
      { call: 'DEL', netns: '/run/netns/plx-none' },
    ],
  },
  {
    plugin: 'macvlan',
    tries: 'a CHECK after an address, a route and the interface were lost',
    config: { master: 'ens5', ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16' }] } },
    steps: [
      { call: 'ADD' },
      { pod: ['route del 10.9.0.0/16'] },
      { call: 'CHECK', error: /Expected Route .*10\.9\.0\.0.* not found/i },
      { pod: ['address flush dev net1'] },
      { call: 'CHECK', error: /Failed to match addr/ },
      { pod: ['link del net1'] },
      { call: 'CHECK', error: /not found/ },
      { call: 'CHECK', config: { mode: 'vepa' }, error: /not found/ },
      { call: 'DEL' },
    ],
  },
  {
    plugin: 'macvlan',
    tries: 'a CHECK with another mode, and one without prevResult',
    differences: ['configuration-code'],
    config: { master: 'ens5' },
    steps: [
      { call: 'CHECK', error: /prevResult/ },
      { call: 'ADD' },
      { call: 'CHECK', config: { mode: 'vepa' }, error: /mode.*does not match/ },
    ],
  },
  {
    plugin: 'macvlan',
    tries: 'a DEL after the master went',
    config: { master: 'ens5', ipam },
    steps: [{ call: 'ADD' }, { node: ['link del ens5'] }, { call: 'DEL' }],
  },
  {
    plugin: 'macvlan',
    tries: 'STATUS, GC and VERSION',
    differences: ['gc'],
    config: { master: 'ens5', ipam },
    steps: [
      { call: 'VERSION' },
      { call: 'STATUS' },
      { call: 'STATUS', config: { cniVersion: '1.0.0' }, error: /config version does not allow STATUS/ },
      { call: 'STATUS', config: { ipam: { type: 'nowhere' } }, error: /nowhere/ },
      { call: 'ADD' },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'net1' }] } },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [] } },
    ],
  },
];
