import { type ParityCase, type Refusal, refusals, versions, wire, wrongValues } from '../case.ts';

const plugin = 'ptp';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const both = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

const lifecycles: readonly ParityCase[] = [
  ...versions.map((cniVersion) => ({
    plugin,
    tries: `addresses of both families in cniVersion ${cniVersion}`,
    config: { cniVersion, ipam: { ...both, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] } },
    differences: ['veth-queue', 'no-dad'] as const,
  })),
  {
    plugin,
    tries: 'an address that is alone in its prefix, and a gateway outside of it',
    config: { ipam: { type: 'static', addresses: [{ address: '10.1.2.9/32', gateway: '169.254.1.1' }] } },
    differences: ['ptp-lone-address'],
  },
  { plugin, tries: 'an MTU', differences: ['veth-queue', 'no-dad'], config: { mtu: 5000, ipam: both } },
  {
    plugin,
    tries: "dns in the place of the IPAM plugin's",
    differences: ['veth-queue'],
    config: { dns: { nameservers: ['10.1.2.53'] }, ipam },
  },
  {
    plugin,
    tries: "the IPAM plugin's dns",
    differences: ['veth-queue'],
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
    tries: 'two subnets',
    differences: ['veth-queue'],
    config: { ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: '10.1.3.0/24' }]] } },
  },
  {
    plugin,
    tries: 'routes through the gateway and through another',
    differences: ['veth-queue'],
    config: {
      ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16' }, { dst: '10.10.0.0/16', gw: '10.1.2.1', priority: 7 }] },
    },
  },
  ...['iptables', 'nftables'].map((ipMasqBackend) => ({
    plugin,
    tries: `masquerading by ${ipMasqBackend}`,
    config: { ipMasq: true, ipMasqBackend, ipam: both },
    differences: [
      'veth-queue',
      'no-dad',
      ...(ipMasqBackend === 'nftables' ? ['masquerade-del' as const] : []),
    ] as const,
  })),
  {
    plugin,
    tries: 'two interfaces of one pod in one subnet',
    differences: ['veth-queue', 'ptp-one-subnet'],
    config: { ipam },
    steps: [
      { call: 'ADD' },
      { call: 'ADD', id: 'c2', ifName: 'net2' },
      { call: 'DEL' },
      { call: 'DEL', id: 'c2', ifName: 'net2' },
    ],
  },
  {
    plugin,
    tries: 'a DEL without a namespace, and with one that is gone',
    differences: ['veth-queue', 'del-without-namespace'],
    config: { ipam },
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }, { call: 'DEL', netns: '' }],
  },
  {
    plugin,
    tries: 'a CHECK after the interface was lost',
    differences: ['veth-queue'],
    config: { ipam },
    steps: [{ call: 'ADD' }, { pod: ['link del net1'] }, { call: 'CHECK', error: /not found/ }],
  },
  {
    plugin,
    tries: 'STATUS, GC and VERSION',
    differences: ['veth-queue', 'gc'],
    config: { ipam },
    steps: [
      { call: 'VERSION' },
      { call: 'STATUS' },
      { call: 'ADD' },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [] } },
    ],
  },
];

const refused: readonly Refusal[] = [
  { tries: 'a negative mtu', differences: ['negative-mtu'], keys: { mtu: -1 }, error: /mtu/ },
  {
    tries: 'no ipam',
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: { ipam: {} },
    error: /ipam\.type|no plugin name provided/,
  },
  {
    tries: 'an IPAM plugin that is nowhere',
    keys: { ipam: { type: 'nowhere' } },
    error: /"nowhere"/,
    delError: /"nowhere"/,
  },
  {
    tries: 'a subnet that is too small',
    differences: ['del-broken-configuration'],
    keys: { ipam: { ...ipam, subnet: '10.1.2.0/31' } },
    error: /too small/,
  },
  {
    tries: 'an address without a gateway',
    differences: ['configuration-code', 'nothing-half-made'],
    keys: { ipam: { type: 'static', addresses: [{ address: '10.1.2.9/24' }] } },
    error: /gateway|numerical result out of range/,
  },
  {
    tries: 'a route that the kernel refuses',
    differences: ['nothing-half-made'],
    keys: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    error: /network is unreachable/,
  },
];

export const ptpCases: readonly ParityCase[] = [
  ...lifecycles,
  ...refusals(plugin, { ipam }, refused),
  wrongValues(
    plugin,
    { ipam },
    {
      mtu: ['1400'],
      ipMasq: ['yes'],
      ipMasqBackend: [7],
      dns: [7, { search: 'a' }],
      ipam: ['host-local', { type: 7 }],
    },
  ),
  {
    plugin,
    tries: 'a name that is taken',
    differences: ['nothing-half-made'],
    pod: ['link add net1 type ifb'],
    config: { ipam },
    steps: [{ call: 'ADD', error: /net1.*exists/ }],
  },
  {
    plugin,
    tries: 'an address that the node reaches elsewhere',
    node: [...wire('ens5'), 'address add 10.7.0.1/24 dev ens5', 'route add 10.1.2.2/32 via 10.7.0.9'],
    config: { ipam },
    steps: [{ call: 'ADD', error: /exists/ }, { call: 'DEL' }],
    differences: ['ptp-address-elsewhere'],
  },
];
