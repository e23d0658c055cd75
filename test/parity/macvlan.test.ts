import { macvlanCases } from './cases/macvlan.ts';
import { testParity } from './harness.ts';

testParity(macvlanCases);
