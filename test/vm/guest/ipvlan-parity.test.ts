import { ipvlanCases } from '../../parity/cases/ipvlan.ts';
import { testParity } from '../../parity/harness.ts';

testParity(ipvlanCases, 1);
