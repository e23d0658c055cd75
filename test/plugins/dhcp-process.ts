import { createDhcp } from '../../src/plugins/dhcp.ts';
import { runnerWith } from './dhcp-network.ts';
import { attachment, config } from './support.ts';

/* `node dhcp-process.ts DIRECTORY MASTER NAMESPACE`: an ADD of macvlan with dhcp, whose lease is kept until somebody kills this. */

const [directory = '', master = '', netns = ''] = process.argv.slice(2);
const { plugin } = createDhcp({ directory });
await runnerWith(plugin).add(config('macvlan', { master, ipam: { type: 'dhcp' } }), attachment(netns));
process.stdout.write('added\n');
setInterval(() => undefined, 60_000);
