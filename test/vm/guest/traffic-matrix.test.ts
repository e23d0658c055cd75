import { type Network, testTraffic } from '../../plugins/traffic-matrix.ts';
import { becomeNode } from '../../support/node.ts';

/* Those whose kind of link not every kernel has. */

becomeNode();

const networks: readonly Network[] = [
  { plugin: 'ipvlan', what: 'of layer 2', keys: { master: 'ens5' }, wire: 1500 },
  {
    plugin: 'ipvlan',
    what: 'of layer 3, with an MTU',
    keys: { master: 'ens5', mode: 'l3', mtu: 1400 },
    wire: 1500,
    mtu: 1400,
  },
  {
    plugin: 'vlan',
    keys: { master: 'ens5', vlanId: 7 },
    others: { master: 'ens5p', vlanId: 7 },
    wire: 1500,
  },
];

testTraffic(networks);
