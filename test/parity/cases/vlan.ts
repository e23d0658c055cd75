import { type ParityCase, type Refusal, refusals, wire } from '../case.ts';

const plugin = 'vlan';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const both = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

const lifecycles: readonly ParityCase[] = [
  ...['0.2.0', '0.4.0', '1.1.0'].map((cniVersion) => ({
    plugin,
    tries: `addresses of both families in cniVersion ${cniVersion}`,
    config: {
      cniVersion,
      master: 'ens5',
      vlanId: 100,
      ipam: { ...both, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
      dns: { nameservers: ['10.1.2.53'], domain: 'example' },
    },
  })),
  { plugin, tries: 'no vlanId', config: { master: 'ens5', ipam } },
  { plugin, tries: 'the last vlanId', config: { master: 'ens5', vlanId: 4094, ipam } },
  { plugin, tries: 'an MTU', config: { master: 'ens5', vlanId: 100, mtu: 1300, ipam } },
  {
    plugin,
    tries: "the master's MTU",
    node: wire('ens5', { mtu: 9001 }),
    config: { master: 'ens5', vlanId: 100, ipam },
  },
  {
    plugin,
    tries: 'a master in the pod',
    pod: wire('eth0'),
    config: { master: 'eth0', vlanId: 100, linkInContainer: true, ipam },
  },
  {
    plugin,
    tries: "a master in the pod, with an MTU that is not above its own, which is above the node's",
    pod: wire('ens5', { mtu: 9001, mac: '02:00:00:00:06:01' }),
    config: { master: 'ens5', vlanId: 100, linkInContainer: true, mtu: 9000, ipam },
  },
  {
    plugin,
    tries: 'keys in another case',
    config: { MASTER: 'ens5', VlanID: 100, Mtu: 1300, IPAM: { ...ipam, dataDir: '<data>' } },
  },
];

const refused: readonly Refusal[] = [
  {
    tries: 'no master',
    keys: { master: '' },
    error: /master/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a master that does not exist',
    keys: { master: 'ens9' },
    error: /not found/i,
    differences: ['configuration-code', 'vlan-del-master'],
  },
  {
    tries: 'a master that is on the node, and not in the pod',
    keys: { linkInContainer: true },
    error: /not found/i,
    differences: ['configuration-code', 'vlan-del-master'],
  },
  {
    tries: 'a negative vlanId',
    keys: { vlanId: -1 },
    error: /VLAN ID/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a vlanId that no tag holds',
    keys: { vlanId: 4095 },
    error: /VLAN ID/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a vlanId that is no number',
    keys: { vlanId: '100' },
    error: /vlanId/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: "an MTU above the master's",
    keys: { mtu: 1501 },
    error: /invalid MTU 1501, must be \[0, master MTU\(1500\)\]/,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'a negative MTU',
    keys: { mtu: -1 },
    error: /mtu/i,
    differences: ['configuration-code', 'del-broken-configuration'],
  },
  {
    tries: 'no ipam',
    keys: { ipam: {} },
    error: /ipam\.type|no plugin name provided/,
    differences: ['configuration-code', 'nothing-half-made', 'del-broken-configuration'],
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

export const vlanCases: readonly ParityCase[] = [
  ...lifecycles,
  ...refusals(plugin, { master: 'ens5', vlanId: 100, ipam }, refused),
  {
    plugin,
    tries: 'a name that is taken in the pod',
    differences: ['nothing-half-made', 'address-early'],
    pod: ['link add net1 type ifb'],
    config: { master: 'ens5', vlanId: 100, ipam },
    steps: [{ call: 'ADD', error: /net1.*exists|file exists/ }, { call: 'DEL' }],
  },
  {
    plugin,
    tries: 'a VLAN that another pod has',
    differences: ['address-early'],
    node: [...wire('ens5'), 'link add link ens5 name ens5.100 type vlan id 100'],
    config: { master: 'ens5', vlanId: 100, ipam },
    steps: [{ call: 'ADD', error: /file exists/ }, { call: 'DEL' }],
  },
  {
    plugin,
    tries: 'a namespace that is gone, and none at all',
    differences: ['namespace-code'],
    config: { master: 'ens5', vlanId: 100, ipam },
    steps: [
      { call: 'ADD', netns: '/run/netns/plx-none', error: /failed to open netns/ },
      { call: 'ADD' },
      { call: 'DEL', netns: '' },
      { call: 'DEL', netns: '/run/netns/plx-none' },
    ],
  },
  {
    plugin,
    tries: 'a DEL after the master went',
    differences: ['vlan-del-master'],
    config: { master: 'ens5', vlanId: 100, ipam },
    steps: [{ call: 'ADD' }, { node: ['link del ens5'] }, { call: 'DEL' }],
  },
  {
    plugin,
    tries: 'a DEL without the namespace that its master is in',
    differences: ['vlan-del-master'],
    pod: wire('eth0'),
    config: { master: 'eth0', vlanId: 100, linkInContainer: true, ipam },
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }],
  },
  {
    plugin,
    tries: 'a CHECK with another vlanId and MTU, and after an address, a route, the interface and the master were lost',
    config: { master: 'ens5', vlanId: 100, ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16' }] } },
    steps: [
      { call: 'ADD' },
      { call: 'CHECK', config: { vlanId: 101 }, error: /101/ },
      { call: 'CHECK', config: { mtu: 1300 }, error: /MTU.*1300/ },
      { pod: ['route del 10.9.0.0/16'] },
      { call: 'CHECK', error: /Expected Route .*10\.9\.0\.0.* not found/i },
      { pod: ['address flush dev net1'] },
      { call: 'CHECK', error: /Failed to match addr/ },
      { pod: ['link del net1'] },
      { call: 'CHECK', error: /not found/ },
      { call: 'CHECK', config: { master: 'ens9' }, error: /ens9/ },
      { call: 'DEL' },
    ],
    differences: ['configuration-code'],
  },
  {
    plugin,
    tries: 'STATUS, GC and VERSION',
    differences: ['gc'],
    config: { master: 'ens5', vlanId: 100, ipam },
    steps: [
      { call: 'VERSION' },
      { call: 'STATUS' },
      { call: 'STATUS', config: { ipam: { type: 'nowhere' } }, error: /nowhere/ },
      { call: 'ADD' },
      { call: 'GC', config: { 'cni.dev/valid-attachments': [] } },
    ],
  },
];
