import { bandwidthCases } from './cases/bandwidth.ts';
import { testParity } from './harness.ts';

testParity(bandwidthCases);
