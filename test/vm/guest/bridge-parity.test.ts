import { bridgeVlanCases } from '../../parity/cases/bridge-vlan.ts';
import { testParity } from '../../parity/harness.ts';

testParity(bridgeVlanCases, 1);
