import { type ParityCase, type Refusal, refusals, wire, wrongValues } from '../case.ts';

const plugin = 'ipvlan';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const both = { type: 'host-local', ranges: [[{ subnet: '10.1.2.0/24' }], [{ subnet: 'fd00:1::/64' }]] };

const lifecycles: readonly ParityCase[] = [
  ...(['0.2.0', '0.4.0', '1.1.0'] as const).map((cniVersion) => ({
    plugin,
    tries: `addresses of both families, with dns, in cniVersion ${cniVersion}`,
    config: {
      cniVersion,
      master: 'ens5',
      dns: { nameservers: ['10.1.2.53'] },
      ipam: { ...both, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
    },
  })),
  {
    plugin,
    tries: 'the configuration of the walk-through',
    node: wire('ens6', { mtu: 9001 }),
    config: {
      cniVersion: '0.3.0',
      master: 'ens6',
      mode: 'l2',
      ipam: {
        type: 'host-local',
        subnet: '100.64.0.0/19',
        rangeStart: '100.64.30.10',
        rangeEnd: '100.64.30.100',
        gateway: '100.64.0.1',
      },
    },
  },
  ...['', 'l3', 'l3s'].map((mode) => ({
    plugin,
    tries: `mode "${mode}"`,
    config: { master: 'ens5', mode, ipam },
  })),
  { plugin, tries: "an MTU above the master's", config: { master: 'ens5', mtu: 1600, ipam } },
  {
    plugin,
    tries: 'a flag, which the original does not know',
    config: { master: 'ens5', flag: 'private', ipam },
    differences: ['ipvlan-flag'],
  },
  {
    plugin,
    tries: 'the master of the default route',
    differences: ['check-default-master'],
    node: [...wire('ens5'), 'address add 10.1.1.2/24 dev ens5', 'route add default via 10.1.1.1'],
    config: { ipam },
  },
  { plugin, tries: 'a master in the pod', pod: wire('eth0'), config: { master: 'eth0', linkInContainer: true, ipam } },
  {
    plugin,
    tries: 'the master and the addresses of a chained result',
    config: {
      prevResult: {
        cniVersion: '1.1.0',
        interfaces: [{ name: 'ens5' }],
        ips: [{ address: '10.1.2.9/24', gateway: '10.1.2.1', interface: 0 }],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    },
    steps: [{ call: 'ADD' }],
  },
  {
    plugin,
    tries: 'a DEL without a namespace, and with one that is gone',
    config: { master: 'ens5', ipam },
    steps: [{ call: 'ADD' }, { call: 'DEL', netns: '/run/netns/plx-none' }, { call: 'DEL', netns: '' }],
  },
  {
    plugin,
    tries: 'a DEL after the master went, named',
    config: { master: 'ens5', ipam },
    steps: [{ call: 'ADD' }, { node: ['link del ens5'] }, { call: 'DEL' }],
  },
  {
    plugin,
    tries: 'a DEL without a master and without a default route',
    differences: ['del-default-master'],
    node: [...wire('ens5'), 'address add 10.1.1.2/24 dev ens5', 'route add default via 10.1.1.1'],
    config: { cniVersion: '0.3.1', ipam },
    steps: [{ call: 'ADD' }, { node: ['route del default'] }, { call: 'DEL' }],
  },
  {
    plugin,
    tries: 'a CHECK with another mode',
    config: { master: 'ens5', ipam },
    steps: [{ call: 'ADD' }, { call: 'CHECK', config: { mode: 'l3' }, error: /mode.*does not match/i }],
  },
];

const refused: readonly Refusal[] = [
  {
    tries: 'a master that does not exist',
    differences: ['configuration-code', 'no-empty-directory'],
    keys: { master: 'ens9' },
    error: /not found/,
  },
  {
    tries: 'no master and no default route',
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: { master: '' },
    error: /no default route interface found/,
  },
  {
    tries: 'an unknown mode',
    differences: ['configuration-code', 'no-empty-directory'],
    keys: { mode: 'vepa' },
    error: /mode.*vepa/,
  },
  {
    tries: 'no ipam',
    differences: ['configuration-code', 'nothing-half-made'],
    keys: { ipam: {} },
    error: /ipam\.type|no plugin name provided/,
  },
  {
    tries: 'a chained result with two interfaces',
    differences: ['configuration-code', 'del-broken-configuration'],
    keys: {
      master: '',
      prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'ens5' }, { name: 'ens6' }], ips: [] },
    },
    error: /chained master failure. PrevResult lacks a single named interface/,
  },
  {
    tries: 'a route that the kernel refuses',
    differences: ['nothing-half-made'],
    keys: { ipam: { ...ipam, routes: [{ dst: '10.9.0.0/16', gw: '192.0.2.1' }] } },
    error: /network is unreachable/,
  },
];

export const ipvlanCases: readonly ParityCase[] = [
  ...lifecycles,
  ...refusals(plugin, { master: 'ens5', ipam }, refused),
  wrongValues(
    plugin,
    { master: 'ens5', ipam },
    { master: [7], mode: [7], mtu: ['1400'], linkInContainer: ['yes'], dns: [7] },
  ),
];
