import { becomeNodeWith } from '../support/node.ts';
import { type Network, testTraffic } from './traffic-matrix.ts';

/*
 * Of the interface plugins, vxlan has nodes of its own (vxlan-traffic.test.ts), and tap programs that open it
 * (tap.test.ts). ipvlan and vlan are in the test VM, whose kernel has them. A dummy leads nowhere: only its own pod
 * reaches it (test/vm/guest/dummy.test.ts). loopback is the pod's own.
 */

becomeNodeWith();

const networks: readonly Network[] = [
  ...['bridge', 'vepa', 'private', 'passthru'].map((mode) => ({
    plugin: 'macvlan',
    what: mode === 'bridge' ? 'on one master' : `in mode ${mode}, on the two ends of a wire`,
    keys: { master: 'ens5', mode },
    others: { master: mode === 'bridge' ? 'ens5' : 'ens5p', mode },
    wire: 1500,
  })),
  {
    plugin: 'macvlan',
    what: 'with large frames, and a smaller MTU',
    keys: { master: 'ens5', mtu: 8000 },
    wire: 9001,
    mtu: 8000,
  },
  { plugin: 'bridge', what: 'of layer 2', keys: { bridge: 'br0' } },
  {
    plugin: 'bridge',
    what: 'with a gateway, a MAC check and an MTU',
    mtu: 1400,
    keys: { bridge: 'br1', isGateway: true, macspoofchk: true, mtu: 1400 },
  },
  { plugin: 'ptp', keys: {} },
  { plugin: 'ptp', what: 'with an MTU', keys: { mtu: 1400 }, mtu: 1400 },
  {
    plugin: 'host-device',
    what: 'on the two ends of a wire',
    keys: { device: 'ens5' },
    others: { device: 'ens5p' },
    wire: 1500,
  },
  {
    plugin: 'host-device',
    what: 'with large frames',
    keys: { device: 'ens5' },
    others: { device: 'ens5p' },
    wire: 9001,
    mtu: 9001,
  },
];

testTraffic(networks);
