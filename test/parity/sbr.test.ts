import { sbrCases } from './cases/sbr.ts';
import { testParity } from './harness.ts';

testParity(sbrCases);
