import type { ParityCase } from '../case.ts';
import { bandwidthCases } from './bandwidth.ts';
import { bridgeCases } from './bridge.ts';
import { bridgeVlanCases } from './bridge-vlan.ts';
import { dhcpCases } from './dhcp.ts';
import { dummyCases } from './dummy.ts';
import { firewallCases } from './firewall.ts';
import { hostDeviceCases } from './host-device.ts';
import { hostDeviceSysfsCases } from './host-device-sysfs.ts';
import { hostLocalCases } from './host-local.ts';
import { ipvlanCases } from './ipvlan.ts';
import { loopbackCases } from './loopback.ts';
import { macvlanCases } from './macvlan.ts';
import { portmapCases } from './portmap.ts';
import { ptpCases } from './ptp.ts';
import { sbrCases } from './sbr.ts';
import { staticCases } from './static.ts';
import { tapCases } from './tap.ts';
import { tuningCases } from './tuning.ts';
import { vlanCases } from './vlan.ts';
import { vrfCases } from './vrf.ts';

/** All cases, wherever they run. */
export const allCases: readonly ParityCase[] = [
  ...loopbackCases,
  ...bridgeCases,
  ...bridgeVlanCases,
  ...ipvlanCases,
  ...macvlanCases,
  ...ptpCases,
  ...vlanCases,
  ...dummyCases,
  ...tapCases,
  ...hostDeviceCases,
  ...hostDeviceSysfsCases,
  ...hostLocalCases,
  ...staticCases,
  ...dhcpCases,
  ...tuningCases,
  ...portmapCases,
  ...bandwidthCases,
  ...firewallCases,
  ...sbrCases,
  ...vrfCases,
];
