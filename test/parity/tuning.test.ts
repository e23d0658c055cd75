import { tuningCases } from './cases/tuning.ts';
import { testParity } from './harness.ts';

testParity(tuningCases);
