import { portmapCases } from './cases/portmap.ts';
import { testParity } from './harness.ts';

testParity(portmapCases);
