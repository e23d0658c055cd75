import { loopbackCases } from './cases/loopback.ts';
import { testParity } from './harness.ts';

testParity(loopbackCases);
