import type { CallStep, ParityCase } from '../case.ts';

/* The VLANs of a bridge's ports, which not every kernel knows. */

const plugin = 'bridge';
const ipam = { type: 'host-local', subnet: '10.1.2.0/24' };
const steps: readonly CallStep[] = [{ call: 'ADD' }, { call: 'CHECK' }, { call: 'DEL' }];

const ports: readonly ParityCase[] = [
  { tries: 'a VLAN', keys: { vlan: 100 } },
  {
    tries: 'trunks beside the default VLAN',
    keys: { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }], preserveDefaultVlan: true },
  },
  { tries: 'a VLAN with trunks', keys: { vlan: 100, vlanTrunk: [{ id: 101 }, { minID: 105, maxID: 106 }] } },
  { tries: 'a gateway in a VLAN', keys: { vlan: 100, isGateway: true } },
].map(({ tries, keys }) => ({
  plugin,
  tries,
  config: { bridge: 'br0', ipam, ...keys },
  steps,
  differences: ['veth-queue', 'bridge-address'],
}));

export const bridgeVlanCases: readonly ParityCase[] = [
  ...ports,
  {
    plugin,
    tries: 'a VLAN that is among the trunks, too',
    config: { bridge: 'br0', vlan: 100, vlanTrunk: [{ minID: 100, maxID: 101 }], ipam },
    steps,
    differences: ['veth-queue', 'bridge-address', 'bridge-native-vlan'],
  },
  {
    plugin,
    tries: 'a VLAN of a bridge that does not tell them apart',
    node: ['link add br0 address 02:00:00:00:0b:01 type bridge', 'link set br0 up'],
    config: { bridge: 'br0', vlan: 100, ipam },
    steps: [{ call: 'ADD' }, { call: 'DEL' }],
    differences: ['bridge-vlan-filter'],
  },
];
