import { vrfCases } from '../../parity/cases/vrf.ts';
import { testParity } from '../../parity/harness.ts';

testParity(vrfCases, 1);
