import type { JsonObject } from '../../../src/cni/json.ts';
import { type ParityCase, refusals, versions } from '../case.ts';

const plugin = 'tuning';

const pod = [
  'link add net1 address 02:00:00:00:01:01 mtu 1400 txqueuelen 500 type veth peer name net1p address 06:00:00:00:01:01',
  'link set net1 up',
  'link set net1p up',
];

const prevResult = {
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'veth1', mac: '02:00:00:00:09:09' },
    { name: 'net1', mac: '02:00:00:00:01:01', sandbox: '<pod>' },
  ],
  ips: [{ address: '10.1.2.9/24', interface: 1 }],
};

const base: JsonObject = { dataDir: '<data>/tuning', prevResult };

const worksWith = (tries: string, keys: JsonObject, more: Partial<ParityCase> = {}): ParityCase => ({
  plugin,
  tries,
  pod,
  config: { ...base, ...keys },
  ...more,
});

const mac = '02:00:00:00:77:01';

export const tuningCases: readonly ParityCase[] = [
  ...versions
    .filter((cniVersion) => cniVersion.startsWith('1.') || cniVersion === '0.4.0')
    .map((cniVersion) =>
      worksWith(`cniVersion ${cniVersion}`, { cniVersion, mac, prevResult: { ...prevResult, cniVersion } }),
    ),
  worksWith('nothing to change', {}),
  worksWith('mac', { mac }),
  worksWith(
    'mac of CNI_ARGS before that of the configuration',
    { mac: '02:00:00:00:77:02' },
    {
      steps: [{ call: 'ADD', args: `MAC=${mac}` }, { call: 'CHECK', args: `MAC=${mac}` }, { call: 'DEL' }],
    },
  ),
  worksWith(
    "the runtime's mac before that of CNI_ARGS",
    { runtimeConfig: { mac } },
    {
      steps: [{ call: 'ADD', args: 'MAC=02:00:00:00:77:02' }, { call: 'CHECK' }, { call: 'DEL' }],
    },
  ),
  worksWith("args.cni's mac before all others", {
    runtimeConfig: { mac: '02:00:00:00:77:02' },
    args: { cni: { mac } },
  }),
  worksWith('mtu', { mtu: 1300 }),
  worksWith('mtu 0, which is none', { mtu: 0 }),
  worksWith('promisc', { promisc: true }),
  worksWith('promisc false', { promisc: false }),
  worksWith('allmulti', { allmulti: true }),
  worksWith('allmulti false', { allmulti: false }),
  worksWith('txQLen', { txQLen: 20_000 }),
  worksWith('all at once, with keys in other cases', {
    MAC: mac,
    Mtu: 1280,
    Promisc: true,
    AllMulti: true,
    TXQLEN: 77,
  }),
  worksWith('all of args.cni before the configuration', {
    mtu: 1300,
    txQLen: 5,
    promisc: true,
    allmulti: true,
    args: { cni: { mtu: 1290, txQLen: 6, promisc: false, allmulti: false } },
  }),
  worksWith(
    'a sysctl of the namespace, with dots',
    { sysctl: { 'net.ipv4.conf.all.log_martians': '1' } },
    { differences: ['tuning-sysctl'] },
  ),
  worksWith(
    'a sysctl with slashes',
    { sysctl: { 'net/ipv4/conf/net1/arp_filter': '1' } },
    { differences: ['tuning-sysctl'] },
  ),
  worksWith(
    'a sysctl of IFNAME',
    { sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' } },
    { differences: ['tuning-sysctl'] },
  ),
  worksWith(
    'args.cni.sysctl beside the configuration',
    {
      sysctl: { 'net.ipv4.conf.net1.arp_filter': '1' },
      args: { cni: { sysctl: { 'net.ipv4.conf.net1.arp_ignore': '2' } } },
    },
    { differences: ['tuning-sysctl'] },
  ),
  worksWith(
    'a second ADD',
    { mtu: 1300 },
    {
      differences: ['tuning-first-backup'],
      steps: [{ call: 'ADD' }, { call: 'ADD', config: { mtu: 1200 } }, { call: 'DEL' }],
    },
  ),
  worksWith(
    'an interface that changed since',
    { mtu: 1300, mac, allmulti: true, txQLen: 7 },
    {
      steps: [
        { call: 'ADD' },
        { pod: ['link set net1 mtu 1290'] },
        { call: 'CHECK', error: /MTU of net1 is 1300, current value is 1290/ },
        { pod: ['link set net1 mtu 1300 txqueuelen 8'] },
        { call: 'CHECK', error: /Transmit Queue Length of net1 is .*, current value is 8/ },
        { pod: ['link set net1 txqueuelen 7 allmulticast off'] },
        { call: 'CHECK', error: /all-multicast mode of net1 is/ },
        { pod: ['link set net1 address 02:00:00:00:77:09'] },
        { call: 'CHECK', error: /Ethernet of net1 is 02:00:00:00:77:01, current value is 02:00:00:00:77:09/ },
        { call: 'DEL' },
      ],
    },
  ),
  worksWith(
    'a promiscuous interface that the configuration says nothing of',
    { mtu: 1300 },
    {
      differences: ['tuning-check'],
      steps: [{ call: 'ADD' }, { pod: ['link set net1 promisc on'] }, { call: 'CHECK' }, { call: 'DEL' }],
    },
  ),
  worksWith(
    'a DEL when the interface is gone',
    { mtu: 1300 },
    {
      differences: ['tuning-backup-gone'],
      steps: [{ call: 'ADD' }, { pod: ['link delete net1'] }, { call: 'DEL' }],
    },
  ),
  worksWith(
    'a DEL when the namespace is gone',
    { mtu: 1300 },
    {
      differences: ['tuning-backup-gone'],
      steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }],
    },
  ),
  worksWith('a DEL without an ADD', { mtu: 1300 }, { steps: [{ call: 'DEL' }] }),
  {
    plugin,
    tries: 'refused: no prevResult',
    pod,
    config: { dataDir: '<data>/tuning', mtu: 1300 },
    differences: ['configuration-code'],
    steps: [{ call: 'ADD', error: /Required prevResult missing/ }, { call: 'DEL' }],
  },
  ...refusals(plugin, base, [{ tries: 'an interface that is not there', keys: { mtu: 1300 }, error: /net1/ }]),
  ...refusals(plugin, base, [
    {
      tries: 'a sysctl that is not of the network',
      keys: { sysctl: { 'kernel.panic': '1' } },
      error: /invalid net sysctl key/,
      differences: ['configuration-code'],
    },
    { tries: 'a sysctl that is not there', keys: { sysctl: { 'net.none': '1' } }, error: /none/ },
    {
      tries: 'a value that the sysctl does not take',
      keys: { sysctl: { 'net.ipv4.conf.net1.arp_filter': 'x' } },
      error: /invalid argument/i,
      differences: ['tuning-sysctl'],
    },
    {
      tries: 'a mac that is none',
      keys: { mac: 'x' },
      error: /x/,
      differences: ['configuration-code', 'nothing-half-made'],
    },
    {
      tries: 'a mtu that is no number',
      keys: { mtu: 'x' },
      error: /mtu/,
      differences: ['configuration-code', 'del-broken-configuration'],
    },
    {
      tries: 'a mtu that the interface cannot have',
      keys: { mtu: 1_000_000, txQLen: 9 },
      error: /invalid argument|numerical/i,
      differences: ['nothing-half-made'],
    },
  ]).map((each) => ({ ...each, pod })),
];
