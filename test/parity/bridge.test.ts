import { bridgeCases } from './cases/bridge.ts';
import { testParity } from './harness.ts';

testParity(bridgeCases);
