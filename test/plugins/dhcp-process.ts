import { isJsonObject } from '../../src/cni/json.ts';
import { createDhcp } from '../../src/plugins/dhcp.ts';
import { runnerWith } from './dhcp-network.ts';
import { attachment, config } from './support.ts';

/*
 * `node dhcp-process.ts DIRECTORY MASTER NAMESPACE [IPAM]`: an ADD of macvlan with dhcp and the keys of IPAM, whose lease is
 * kept until somebody kills this.
 */

const [directory = '', master = '', netns = '', keys = '{}'] = process.argv.slice(2);
const { plugin } = createDhcp({ directory });
const ipam: unknown = JSON.parse(keys);
if (!isJsonObject(ipam)) throw new Error(`${keys} is no object`);
await runnerWith(plugin).add(config('macvlan', { master, ipam: { type: 'dhcp', ...ipam } }), attachment(netns));
process.stdout.write('added\n');
setInterval(() => undefined, 60_000);
