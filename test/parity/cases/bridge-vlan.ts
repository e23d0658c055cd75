import type { CallStep, ParityCase } from '../case.ts';

/* The VLANs of a bridge's ports, which not every kernel knows. */

const steps: readonly CallStep[] = [{ call: 'ADD' }, { call: 'CHECK' }, { call: 'DEL' }];

export const bridgeVlanCases: readonly ParityCase[] = [
  { tries: 'a VLAN', keys: { vlan: 100 } },
  {
    tries: 'trunks beside the default VLAN',
    keys: { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }], preserveDefaultVlan: true },
  },
  { tries: 'a VLAN with trunks', keys: { vlan: 100, vlanTrunk: [{ id: 101 }, { minID: 105, maxID: 106 }] } },
  { tries: 'a gateway in a VLAN', keys: { vlan: 100, isGateway: true } },
].map(({ tries, keys }) => ({
  plugin: 'bridge',
  tries,
  config: { bridge: 'br0', ipam: { type: 'host-local', subnet: '10.1.2.0/24' }, ...keys },
  steps,
  differences: ['veth-queue', 'bridge-address'],
}));
