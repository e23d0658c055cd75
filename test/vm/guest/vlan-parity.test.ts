import { vlanCases } from '../../parity/cases/vlan.ts';
import { testParity } from '../../parity/harness.ts';

testParity(vlanCases, 1);
