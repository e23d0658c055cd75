import { hostLocalCases } from './cases/host-local.ts';
import { testParity } from './harness.ts';

testParity(hostLocalCases);
