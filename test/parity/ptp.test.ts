import { ptpCases } from './cases/ptp.ts';
import { testParity } from './harness.ts';

testParity(ptpCases);
