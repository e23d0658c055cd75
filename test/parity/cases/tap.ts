import { type ParityCase, type Refusal, refusals, versions } from '../case.ts';

const plugin = 'tap';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const mac = '02:00:00:00:00:0a';

const lifecycles: readonly ParityCase[] = [
  ...versions.map((cniVersion) => ({
    plugin,
    tries: `addresses of both families in cniVersion ${cniVersion}`,
    config: {
      cniVersion,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]],
        routes: [{ dst: '10.9.0.0/16' }],
      },
      dns: { nameservers: ['10.1.2.53'], domain: 'example' },
    },
  })),
  { plugin, tries: 'no ipam', config: { dns: { domain: 'example' } } },
  { plugin, tries: 'several queues', config: { multiQueue: true } },
  { plugin, tries: 'an MTU and a MAC address', config: { mtu: 1300, mac, ipam } },
  { plugin, tries: 'a large MTU', config: { mtu: 9000 } },
  { plugin, tries: 'an owner', config: { owner: 107, mtu: 1300, mac } },
  { plugin, tries: 'a group', config: { group: 107, mtu: 1300, mac, multiQueue: true } },
  { plugin, tries: 'owner root', config: { owner: 0 } },
  { plugin, tries: 'an owner and a group', differences: ['tap-flags'], config: { owner: 107, group: 108 } },
  {
    plugin,
    tries: 'an owner and a group, with several queues',
    differences: ['tap-flags'],
    config: { owner: 107, group: 108, multiQueue: true },
  },
  {
    plugin,
    tries: 'an owner and a group, with an MTU and a MAC address',
    differences: ['tap-flags', 'tap-owner-and-group'],
    config: { owner: 107, group: 108, mtu: 1300, mac },
  },
  {
    plugin,
    tries: 'a bridge of the pod',
    pod: ['link add br0 type bridge', 'link set br0 up'],
    config: { bridge: 'br0', mtu: 1300, ipam },
  },
  { plugin, tries: 'keys in another case', config: { MULTIQUEUE: true, Mtu: 1300, MAC: mac, Owner: 107 } },
  { plugin, tries: 'keys that are null or empty', config: { mac: '', owner: null, bridge: '', selinuxContext: '' } },
  ...[
    { keys: { mac }, args: 'MAC=02:00:00:00:00:0b' },
    { keys: { mac, runtimeConfig: { mac: '02:00:00:00:00:0c' } }, args: 'MAC=02:00:00:00:00:0b' },
    { keys: {}, args: 'IgnoreUnknown=1;MAC=02:00:00:00:00:0b;K8S_POD_NAME=p' },
  ].map(({ keys, args }) => ({
    plugin,
    tries: `the MAC address of ${JSON.stringify(keys)} and CNI_ARGS "${args}"`,
    config: keys,
    steps: [
      { call: 'ADD', args },
      { call: 'CHECK', args },
      { call: 'DEL', args },
    ] as const,
  })),
];

const refused: readonly Refusal[] = [
  {
    tries: 'a MAC address that is none',
    keys: { mac: 'none' },
    error: /none/,
    differences: ['nothing-half-made', 'configuration-code', 'no-empty-directory'],
  },
  {
    tries: 'a negative MTU',
    keys: { mtu: -1 },
    error: /mtu/,
    differences: ['nothing-half-made', 'configuration-code', 'no-empty-directory'],
  },
  {
    tries: "an MTU below the kernel's",
    keys: { mtu: 67 },
    error: /mtu less than device minimum/,
    differences: ['nothing-half-made', 'address-early'],
  },
  {
    tries: "an MTU above the kernel's",
    keys: { mtu: 65_536 },
    error: /mtu greater than device maximum/,
    differences: ['nothing-half-made', 'address-early'],
  },
  {
    tries: 'a negative owner',
    keys: { owner: -1 },
    error: /owner/,
    delError: /owner/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'an owner by name',
    keys: { owner: 'root' },
    error: /owner/,
    delError: /owner/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a group that is no number',
    keys: { group: 1.5 },
    error: /group/,
    delError: /group/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'multiQueue that is neither true nor false',
    keys: { multiQueue: 2 },
    error: /multiQueue/,
    delError: /multiQueue/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a context where there is no SELinux',
    keys: { selinuxContext: 'system_u:system_r:container_t:s0' },
    error: /invalid argument/,
    differences: ['address-early'],
  },
  {
    tries: 'a bridge that the pod has not',
    keys: { bridge: 'br9' },
    error: /failed to get bridge br9: .*not found/i,
    differences: ['nothing-half-made', 'configuration-code', 'no-empty-directory'],
  },
  {
    tries: 'a bridge that is none',
    keys: { bridge: 'lo' },
    error: /bridge/,
    differences: ['nothing-half-made', 'configuration-code', 'no-empty-directory'],
  },
  {
    tries: 'an argument that nobody knows',
    keys: {},
    args: 'FOO=1',
    error: /ARGS: unknown args \["FOO=1"\]/,
    differences: ['no-empty-directory'],
  },
  {
    tries: 'an IPAM plugin that is nowhere',
    keys: { ipam: { type: 'nowhere' } },
    error: /"nowhere"/,
    delError: /"nowhere"/,
    differences: ['nothing-half-made'],
  },
  {
    tries: 'a route that the kernel refuses',
    keys: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    error: /network is unreachable/,
    differences: ['nothing-half-made'],
  },
];

export const tapCases: readonly ParityCase[] = [
  ...lifecycles,
  ...refusals(plugin, { ipam }, refused),
  {
    plugin,
    tries: 'an owner who is nobody',
    differences: ['tap-nobody'],
    config: { owner: 4_294_967_295 },
    steps: [{ call: 'ADD' }],
  },
  {
    plugin,
    tries: 'a name that is taken',
    differences: ['tap-name-taken'],
    pod: ['link add net1 type ifb'],
    config: {},
    steps: [{ call: 'ADD' }],
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
    tries: 'a CHECK after an address, a route and the interface were lost',
    config: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16' }] } },
    steps: [
      { call: 'ADD' },
      { pod: ['route del 10.9.0.0/16'] },
      { call: 'CHECK', error: /Expected Route .*10\.9\.0\.0.* not found/i },
      { pod: ['address flush dev net1'] },
      { call: 'CHECK', error: /Failed to match addr/ },
      { pod: ['link del net1'] },
      { call: 'CHECK', error: /not found|Cannot find/ },
      { call: 'DEL' },
    ],
  },
  {
    plugin,
    tries: 'a CHECK after another interface took its place, and it left its bridge',
    differences: ['tap-check'],
    pod: ['link add br0 type bridge'],
    config: { bridge: 'br0' },
    steps: [
      { call: 'ADD' },
      { pod: ['link set net1 nomaster'] },
      { call: 'CHECK' },
      { pod: ['link del net1', 'link add net1 type ifb'] },
      { call: 'CHECK' },
    ],
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
      { call: 'GC', config: { 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'net1' }] } },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [] } },
    ],
  },
];
