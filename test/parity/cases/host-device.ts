import { type ParityCase, type Refusal, refusals, versions, wire, wrongValues } from '../case.ts';

const plugin = 'host-device';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };

const lifecycles: readonly ParityCase[] = [
  ...versions.map((cniVersion) => ({
    plugin,
    tries: `cniVersion ${cniVersion}, with dns`,
    config: {
      cniVersion,
      device: 'ens5',
      dns: { nameservers: ['10.1.2.53'] },
      ipam: { ...ipam, routes: [{ dst: '0.0.0.0/0' }] },
    },
  })),
  {
    plugin,
    tries: 'addresses of both families',
    config: {
      device: 'ens5',
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] },
    },
  },
  { plugin, tries: 'no ipam, with dns', config: { device: 'ens5', dns: { domain: 'example' } } },
  { plugin, tries: 'an MTU of 9001', node: wire('ens5', { mtu: 9001 }), config: { device: 'ens5', ipam } },
  { plugin, tries: 'a device that is down', node: [...wire('ens5'), 'link set ens5 down'], config: { device: 'ens5' } },
  { plugin, tries: 'a hardware address', config: { hwaddr: '02:00:00:00:05:01', ipam } },
  { plugin, tries: 'a hardware address in capitals with hyphens', config: { hwaddr: '02-00-00-00-05-01' } },
  {
    plugin,
    tries: 'a device before a hardware address',
    node: [...wire('ens5'), ...wire('ens6', { mac: '02:00:00:00:06:01' })],
    config: { device: 'ens6', hwaddr: '02:00:00:00:05:01' },
  },
  {
    plugin,
    tries: "the pod's own name for it",
    pod: wire('ens5', { mac: '02:00:00:00:09:01' }),
    config: { device: 'ens5', ipam },
  },
  {
    plugin,
    tries: 'an alternative name',
    node: [...wire('ens5'), 'link property add dev ens5 altname eni-of-the-node-0123456789'],
    config: { device: 'eni-of-the-node-0123456789' },
  },
];

const refused: readonly Refusal[] = [
  {
    tries: 'no device',
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: {},
    error: /specify either "device", "hwaddr", "kernelpath" or "pciBusID"/,
  },
  {
    tries: 'a device that does not exist',
    differences: ['device-del-again', 'no-empty-directory'],
    keys: { device: 'ens9' },
    error: /failed to find host device/,
  },
  {
    tries: 'a hardware address that nobody has',
    differences: ['device-del-again', 'no-empty-directory'],
    keys: { hwaddr: '02:00:00:00:00:99' },
    error: /failed to find/,
  },
  {
    tries: 'a hardware address that is none',
    differences: ['configuration-code', 'device-del-again', 'no-empty-directory'],
    keys: { hwaddr: '02:00' },
    error: /02:00/,
  },
  {
    tries: 'a path that is not below /sys/devices',
    differences: ['configuration-code', 'device-del-again', 'no-empty-directory'],
    keys: { kernelpath: '/etc' },
    error: /\/etc.*\/sys\/devices\/|\/sys\/devices\/.*\/etc/,
  },
  {
    tries: 'a path where there is no interface',
    differences: ['device-del-again', 'no-empty-directory'],
    keys: { kernelpath: '/sys/devices/none' },
    error: /\/sys\/devices\/none\/net/,
  },
  {
    tries: 'a PCI device that does not exist',
    differences: ['del-broken-configuration'],
    keys: { pciBusID: '0000:ff:1f.7' },
    error: /0000:ff:1f.7/,
  },
  {
    tries: 'a device of the runtime that does not exist',
    differences: ['del-broken-configuration'],
    keys: { runtimeConfig: { deviceID: '0000:ff:1f.7' } },
    error: /0000:ff:1f.7/,
  },
  {
    tries: 'lo',
    differences: ['address-early', 'device-del-again'],
    keys: { device: 'lo' },
    error: /failed to move.*lo.*invalid argument/,
  },
];

export const hostDeviceCases: readonly ParityCase[] = [
  ...lifecycles.map((each): ParityCase => ({ ...each, differences: ['device-del-again'] })),
  ...refusals(plugin, { ipam }, refused),
  wrongValues(
    plugin,
    { ipam },
    { device: [7, 'a/b'], hwaddr: [7], kernelpath: [7], pciBusID: [7], runtimeConfig: [{ deviceID: 7 }] },
  ),
  {
    plugin,
    tries: 'a name that is taken',
    pod: ['link add net1 type ifb'],
    config: { device: 'ens5', ipam },
    steps: [{ call: 'ADD', error: /net1.*exists/ }],
  },
  {
    plugin,
    tries: 'a DEL of an interface that is not of the node',
    differences: ['device-del-again', 'no-empty-directory'],
    pod: ['link add net1 type ifb'],
    config: { device: 'ens5', ipam },
    steps: [{ call: 'DEL' }],
  },
  {
    plugin,
    tries: 'addresses that are exhausted',
    differences: ['nothing-half-made'],
    config: { device: 'ens5', ipam: { ...ipam, rangeStart: '10.1.2.1', rangeEnd: '10.1.2.1' } },
    steps: [{ call: 'ADD', error: /no IP addresses available|in use/ }],
  },
  {
    plugin,
    tries: 'a route that the kernel refuses',
    differences: ['nothing-half-made'],
    config: { device: 'ens5', ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    steps: [{ call: 'ADD', error: /network is unreachable/ }],
  },
  {
    plugin,
    tries: 'a DEL whose name is taken on the node, repeated once it is free',
    differences: ['device-del-order'],
    config: { device: 'ens5', ipam },
    steps: [
      { call: 'ADD' },
      { node: ['link add ens5 type ifb'] },
      { call: 'DEL', error: /ens5.*exists/ },
      { node: ['link del ens5'] },
      { call: 'DEL' },
    ],
  },
  {
    plugin,
    tries: 'a DEL without a namespace, and with one that is gone',
    differences: ['device-del-namespace'],
    config: { device: 'ens5', ipam },
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }, { call: 'DEL', netns: '' }],
  },
  {
    plugin,
    tries: 'a CHECK of a device that was lost, and one without prevResult',
    differences: ['configuration-code'],
    config: { device: 'ens5' },
    steps: [
      { call: 'CHECK', error: /Required prevResult missing/ },
      { call: 'ADD' },
      { pod: ['link set net1 down', 'link set net1 name net9'] },
      { call: 'CHECK', error: /net1.*not found/ },
    ],
  },
  {
    plugin,
    tries: 'STATUS and VERSION',
    config: { device: 'ens5', ipam },
    steps: [{ call: 'STATUS' }, { call: 'VERSION' }],
  },
];
