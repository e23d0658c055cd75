import { dhcpCases } from './cases/dhcp.ts';
import { testParity } from './harness.ts';

testParity(dhcpCases, 4);
