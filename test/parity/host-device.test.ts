import { hostDeviceCases } from './cases/host-device.ts';
import { testParity } from './harness.ts';

testParity(hostDeviceCases);
