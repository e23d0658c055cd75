import { staticCases } from './cases/static.ts';
import { testParity } from './harness.ts';

testParity(staticCases);
