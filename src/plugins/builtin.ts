import type { Plugin } from '../cni/plugin.ts';
import { bandwidth } from './bandwidth.ts';
import { bridge } from './bridge.ts';
import { dhcp } from './dhcp.ts';
import { dummy } from './dummy.ts';
import { firewall } from './firewall.ts';
import { hostDevice } from './host-device.ts';
import { hostLocal } from './host-local.ts';
import { ipvlan } from './ipvlan.ts';
import { loopback } from './loopback.ts';
import { macvlan } from './macvlan.ts';
import { passthru } from './passthru.ts';
import { portmap } from './portmap.ts';
import { ptp } from './ptp.ts';
import { sbr } from './sbr.ts';
import { sriov } from './sriov.ts';
import { staticIpam } from './static.ts';
import { tap } from './tap.ts';
import { tuning } from './tuning.ts';
import { vlan } from './vlan.ts';
import { vrf } from './vrf.ts';
import { vxlan } from './vxlan.ts';

/** Every plugin that runs in this process. */
export const builtinPlugins: readonly Plugin[] = [
  loopback,
  bridge,
  ipvlan,
  macvlan,
  ptp,
  vlan,
  vxlan,
  dummy,
  tap,
  hostDevice,
  sriov,
  tuning,
  portmap,
  bandwidth,
  firewall,
  sbr,
  vrf,
  passthru,
  hostLocal,
  staticIpam,
  dhcp,
];
