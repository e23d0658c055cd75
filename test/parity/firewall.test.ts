import { ensureCommands } from '../../tools/debian.ts';
import { firewallCases } from './cases/firewall.ts';
import { testParity } from './harness.ts';

await ensureCommands(['iptables', 'nft']);
testParity(firewallCases);
