import { tapCases } from './cases/tap.ts';
import { testParity } from './harness.ts';

testParity(tapCases);
