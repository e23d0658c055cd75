import { hostDeviceCases } from './cases/host-device.ts';
import { hostDeviceSysfsCases } from './cases/host-device-sysfs.ts';
import { testParity } from './harness.ts';

testParity([...hostDeviceCases, ...hostDeviceSysfsCases]);
