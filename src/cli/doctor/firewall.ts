import { isFirewalldRunning } from '../../linux/firewalld.ts';
import { listTable } from '../../linux/iptables.ts';
import { listChain } from '../../linux/nftables.ts';
import { type Finding, fine, lacking, messageOf, needers } from './finding.ts';
import type { UsedNetwork } from './networks.ts';

/** Whether this node has the backend that networks with the plugin firewall want, by asking for the rules there are. */
export async function checkFirewall(
  networks: readonly UsedNetwork[],
  builtin: ReadonlySet<string>,
): Promise<Finding[]> {
  if (!builtin.has('firewall')) return [];
  const uses = networks.flatMap(({ name, list }) =>
    list.plugins.flatMap(({ type, backend }) =>
      type === 'firewall' ? [{ name, backend: typeof backend === 'string' ? backend : '' }] : [],
    ),
  );
  const alike = Map.groupBy(uses, ({ backend }) => backend);
  return Promise.all(
    [...alike].map(([backend, users]) => checkBackend(backend, needers(users.map(({ name }) => name)))),
  );
}

/** Without a backend in the configuration, the first that is there is taken. */
async function checkBackend(backend: string, users: string): Promise<Finding> {
  const wanted = probes.filter(({ name }) => backend === '' || backend === name);
  const problems: string[] = [];
  for (const { name, probe } of wanted) {
    try {
      await probe();
      return fine('firewall', `${users}: by ${name}`);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  if (wanted.length === 0) return lacking('firewall', `${users}: no backend "${backend}"`, 'correct the configuration');
  const names = wanted.map(({ name }) => name).join(' or ');
  return lacking('firewall', `${users}: ${problems.join('; ')}`, `install ${names}, and a kernel that has it`);
}

/** In the order in which ADD looks for them. */
const probes: readonly { readonly name: string; readonly probe: () => Promise<unknown> }[] = [
  { name: 'firewalld', probe: requireFirewalld },
  { name: 'iptables', probe: () => listTable(4, 'filter') },
  { name: 'nftables', probe: () => listChain({ family: 'inet', table: 'plexus', name: 'none' }) },
];

async function requireFirewalld(): Promise<void> {
  if (!(await isFirewalldRunning())) throw new Error('firewalld is not on the system bus, or dbus-send is missing');
}
