import type { JsonObject } from '../../../src/cni/json.ts';
import { type CallStep, type ParityCase, type Refusal, refusals, versions, wrongValues } from '../case.ts';
import type { DifferenceId } from '../differences.ts';

const plugin = 'bridge';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const both = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };
const gateway: readonly DifferenceId[] = ['veth-queue', 'no-dad'];
const del: CallStep = { call: 'DEL' };

const lifecycles: readonly ParityCase[] = [
  ...versions.map((cniVersion) => ({
    plugin,
    tries: `a gateway for both families in cniVersion ${cniVersion}`,
    config: {
      cniVersion,
      bridge: 'br0',
      isGateway: true,
      ipam: { ...both, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
    },
    differences: gateway,
  })),
  {
    plugin,
    tries: 'the default bridge, which is no gateway',
    differences: ['veth-queue', 'bridge-address'],
    config: { ipam },
  },
  {
    plugin,
    tries: 'layer 2',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0' },
    steps: [{ call: 'ADD' }, del, del],
  },
  {
    plugin,
    tries: 'the default gateway',
    differences: ['veth-queue', 'no-dad'],
    config: { bridge: 'br0', isDefaultGateway: true, ipam: both },
  },
  {
    plugin,
    tries: 'three subnets',
    differences: ['bridge-subnets'],
    config: {
      bridge: 'br0',
      isGateway: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.3.0/24' }], [{ subnet: 'fd00:1::/64' }]],
      },
    },
  },
  { plugin, tries: 'an MTU', differences: ['veth-queue'], config: { bridge: 'br0', isGateway: true, mtu: 1400, ipam } },
  {
    plugin,
    tries: 'hairpin mode',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0', hairpinMode: true, ipam },
  },
  {
    plugin,
    tries: 'promiscuous mode',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0', promiscMode: true, ipam },
  },
  {
    plugin,
    tries: 'isolated ports',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0', portIsolation: true, ipam },
  },
  {
    plugin,
    tries: 'duplicate address detection',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0', enabledad: true, ipam },
  },
  {
    plugin,
    tries: 'an interface that stays down',
    differences: ['veth-queue', 'bridge-address', 'bridge-carrier'],
    config: { bridge: 'br0', disableContainerInterface: true },
    steps: [{ call: 'ADD' }, del],
  },
  {
    plugin,
    tries: 'dns',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0', dns: { nameservers: ['10.1.2.53'] }, ipam },
  },
  {
    plugin,
    tries: 'a bridge that was there, with an address of its own',
    differences: ['veth-queue', 'bridge-router-advertisements'],
    node: ['link add br0 address 02:00:00:00:0b:01 type bridge', 'address add 10.7.0.1/16 dev br0', 'link set br0 up'],
    config: { bridge: 'br0', ipam },
  },
  {
    plugin,
    tries: 'two interfaces of one pod, which go one after the other',
    differences: ['veth-queue'],
    config: { bridge: 'br0', isGateway: true, ipam },
    steps: [
      { call: 'ADD' },
      { call: 'ADD', id: 'c2', ifName: 'net2' },
      { call: 'CHECK', id: 'c2', ifName: 'net2' },
      del,
      { call: 'DEL', id: 'c2', ifName: 'net2' },
    ],
  },
  ...['iptables', 'nftables'].map((ipMasqBackend) => ({
    plugin,
    tries: `masquerading by ${ipMasqBackend}`,
    config: { bridge: 'br0', isGateway: true, ipMasq: true, ipMasqBackend, ipam: both },
    differences: ipMasqBackend === 'nftables' ? [...gateway, 'masquerade-del' as const] : gateway,
  })),
  {
    plugin,
    tries: 'a check of source MAC addresses',
    differences: ['veth-queue', 'bridge-address'],
    config: { bridge: 'br0', macspoofchk: true, ipam },
  },
  {
    plugin,
    tries: 'a second subnet beside the address that the bridge has',
    differences: ['veth-queue', 'bridge-router-advertisements'],
    node: [
      'link add br0 type bridge',
      'link set br0 address 02:00:00:00:0b:01',
      'address add 10.0.0.1/8 dev br0',
      'link set br0 up',
    ],
    config: { bridge: 'br0', isGateway: true, forceAddress: true, ipam: { ...ipam, subnet: '10.1.0.0/16' } },
  },
];

const macs: readonly ParityCase[] = [
  { keys: { args: { cni: { mac: '02:00:00:00:00:0a' } } }, args: '' },
  { keys: { args: { cni: { mac: '02:00:00:00:00:0a' } } }, args: 'IgnoreUnknown=1;MAC=02:00:00:00:00:0b' },
  { keys: { runtimeConfig: { mac: '02:00:00:00:00:0c' } }, args: 'IgnoreUnknown=1;MAC=02:00:00:00:00:0b' },
].map(({ keys, args }: { keys: JsonObject; args: string }) => ({
  plugin,
  tries: `the MAC address of ${JSON.stringify(keys)} and CNI_ARGS "${args}"`,
  config: { bridge: 'br0', ipam, ...keys },
  steps: [
    { call: 'ADD', args },
    { call: 'DEL', args },
  ],
  differences: ['veth-queue', 'bridge-address'],
}));

const refused: readonly Refusal[] = [
  {
    tries: 'a trunk without its end',
    keys: { vlanTrunk: [{ minID: 200 }] },
    error: /minID and maxID should be configured simultaneously, maxID is missing/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a trunk that ends before it begins',
    keys: { vlanTrunk: [{ minID: 200, maxID: 199 }] },
    error: /minID is greater than maxID|minID 200 is greater than maxID 199/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  ...[{ id: 4095 }, { id: -1 }, { minID: 1, maxID: 4095 }, { minID: -1, maxID: 10 }].map((trunk) => ({
    tries: `a trunk of ${JSON.stringify(trunk)}`,
    keys: { vlanTrunk: [trunk] },
    error: /trunk|minID|maxID/i,
    differences: ['configuration-code', 'del-broken-configuration'] as const,
  })),
  {
    tries: 'hairpin and promiscuous mode',
    differences: ['configuration-code', 'no-empty-directory'],
    keys: { hairpinMode: true, promiscMode: true },
    error: /cannot set hairpin mode and promiscuous mode at the same time/,
  },
  {
    tries: 'an interface that stays down, with addresses',
    differences: ['configuration-code', 'no-empty-directory'],
    keys: { disableContainerInterface: true },
    error: /cannot use IPAM when DisableContainerInterface flag is set/,
  },
  {
    tries: 'a VLAN that is none',
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: { vlan: 4095 },
    error: /4095/,
  },
  {
    tries: 'an argument that nobody knows',
    differences: ['no-empty-directory'],
    keys: {},
    args: 'FOO=1',
    error: /ARGS: unknown args \["FOO=1"\]/,
  },
  {
    tries: 'an IPAM plugin that is nowhere',
    differences: ['nothing-half-made'],
    keys: { ipam: { type: 'nowhere' } },
    error: /"nowhere"/,
    delError: /"nowhere"/,
  },
  {
    tries: 'a subnet that is too small',
    differences: ['nothing-half-made', 'del-broken-configuration'],
    keys: { ipam: { ...ipam, subnet: '10.1.2.0/31' } },
    error: /too small/,
  },
  {
    tries: 'a route that the kernel refuses',
    differences: ['nothing-half-made'],
    keys: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    error: /network is unreachable/,
  },
];

export const bridgeCases: readonly ParityCase[] = [
  ...lifecycles,
  ...macs,
  ...refusals(plugin, { bridge: 'br0', ipam }, refused),
  wrongValues(
    plugin,
    { bridge: 'br0', ipam },
    {
      bridge: [7, 'a-name-that-is-too-long', 'a/b'],
      isGateway: ['yes'],
      isDefaultGateway: [1],
      forceAddress: ['no'],
      ipMasq: ['yes'],
      ipMasqBackend: [7],
      mtu: ['1400'],
      hairpinMode: ['yes'],
      promiscMode: [1],
      vlan: ['100', -1],
      vlanTrunk: [{ id: 5 }, [{ id: 'x' }]],
      preserveDefaultVlan: ['no'],
      macspoofchk: ['yes'],
      portIsolation: [1],
      enabledad: ['yes'],
      disableContainerInterface: ['yes'],
      runtimeConfig: [{ mac: 7 }],
    },
  ),
  {
    plugin,
    tries: 'a name on the node that is no bridge',
    differences: ['configuration-code', 'no-empty-directory'],
    node: ['link add br0 type ifb'],
    config: { bridge: 'br0', ipam },
    steps: [{ call: 'ADD', error: /"br0" already exists but is not a bridge/ }, del],
  },
  {
    plugin,
    tries: 'a gateway beside another address of its subnet, not forced',
    differences: ['nothing-half-made'],
    node: ['link add br0 address 02:00:00:00:0b:01 type bridge', 'address add 10.0.0.1/8 dev br0', 'link set br0 up'],
    config: { bridge: 'br0', isGateway: true, ipam: { ...ipam, subnet: '10.1.0.0/16' } },
    steps: [{ call: 'ADD', error: /"br0" already has an IP address different from/ }, del],
  },
  {
    plugin,
    tries: 'a name that is taken',
    differences: ['nothing-half-made', 'address-early'],
    pod: ['link add net1 type ifb'],
    config: { bridge: 'br0', ipam },
    steps: [{ call: 'ADD', error: /net1.*exists/ }, del],
  },
  {
    plugin,
    tries: 'a DEL without a namespace, and with one that is gone',
    differences: ['veth-queue', 'del-without-namespace'],
    config: { bridge: 'br0', isGateway: true, ipMasq: true, ipMasqBackend: 'nftables', ipam },
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }, { call: 'DEL', netns: '' }],
  },
  {
    plugin,
    tries: 'a CHECK after the port left the bridge, and after the interface went',
    differences: ['veth-queue'],
    config: { bridge: 'br0', isGateway: true, ipam },
    steps: [
      { call: 'ADD' },
      { node: ['link set br0 type bridge hello_time 200', 'address del 10.1.2.1/24 dev br0'] },
      { call: 'CHECK' },
      { pod: ['link del net1'] },
      { call: 'CHECK', error: /not found/ },
    ],
  },
  {
    plugin,
    tries: "the IPAM plugin's default route without a gateway, and the default gateway",
    differences: ['bridge-default-route'],
    config: { bridge: 'br0', isDefaultGateway: true, ipam: { ...ipam, routes: [{ dst: '0.0.0.0/0' }] } },
  },
  {
    plugin,
    tries: 'a gateway of the link',
    differences: ['bridge-link-gateway'],
    config: {
      bridge: 'br0',
      isGateway: true,
      ipam: { type: 'static', addresses: [{ address: 'fd00:1::5/64', gateway: 'fe80::1' }] },
    },
  },
  {
    plugin,
    tries: 'a gateway that is there beside another address',
    differences: ['bridge-address-beside'],
    node: [
      'link add br0 address 02:00:00:00:0b:01 type bridge',
      'address add 10.0.0.1/8 dev br0',
      'address add 10.1.2.1/24 dev br0',
      'link set br0 up',
    ],
    config: { bridge: 'br0', isGateway: true, ipam },
  },
  {
    plugin,
    tries: 'a CHECK while somebody looks at what is on the bridge',
    differences: ['veth-queue', 'bridge-check'],
    config: { bridge: 'br0', isGateway: true, ipam },
    steps: [{ call: 'ADD' }, { node: ['link set br0 promisc on'] }, { call: 'CHECK' }],
  },
  {
    plugin,
    tries: 'a CHECK of layer 2',
    differences: ['veth-queue', 'bridge-address', 'bridge-check'],
    config: { bridge: 'br0' },
    steps: [{ call: 'ADD' }, { call: 'CHECK' }],
  },
  {
    plugin,
    tries: 'STATUS, GC and VERSION',
    differences: ['veth-queue', 'bridge-address', 'gc'],
    config: { bridge: 'br0', ipam },
    steps: [
      { call: 'VERSION' },
      { call: 'STATUS' },
      { call: 'ADD' },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [] } },
    ],
  },
];
