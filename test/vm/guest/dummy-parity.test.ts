import { dummyCases } from '../../parity/cases/dummy.ts';
import { testParity } from '../../parity/harness.ts';

testParity(dummyCases, 1);
