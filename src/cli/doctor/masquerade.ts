import { listTable } from '../../linux/iptables.ts';
import { listChain } from '../../linux/nftables.ts';
import { type Finding, fine, lacking, messageOf, needers } from './finding.ts';
import type { UsedNetwork } from './networks.ts';

/** Whether this node can masquerade in the way that networks with `ipMasq` want it, by asking for the rules there are. */
export async function checkMasquerade(
  networks: readonly UsedNetwork[],
  builtin: ReadonlySet<string>,
): Promise<Finding[]> {
  const users = new Map<string, string[]>();
  for (const { name, list } of networks) {
    for (const { type, ipMasq, ipMasqBackend } of list.plugins) {
      if (ipMasq !== true || !builtin.has(type)) continue;
      const backend = typeof ipMasqBackend === 'string' ? ipMasqBackend : '';
      users.set(backend, [...(users.get(backend) ?? []), name]);
    }
  }
  return Promise.all([...users].map(([backend, names]) => checkBackend(backend, needers(names))));
}

/** Without a backend in the configuration, either will do. */
async function checkBackend(backend: string, users: string): Promise<Finding> {
  const wanted = probes.filter(({ name }) => backend === '' || backend === name);
  const problems: string[] = [];
  for (const { name, probe } of wanted) {
    try {
      await probe();
      return fine('masquerading', `${users}: by ${name}`);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  const remedy = `install ${wanted.map(({ name }) => name).join(' or ')}, and a kernel that has it`;
  return lacking('masquerading', `${users}: ipMasq is set, and ${problems.join('; ')}`, remedy);
}

/** Under the names that configurations have for them. */
const probes: readonly { readonly name: string; readonly probe: () => Promise<unknown> }[] = [
  { name: 'iptables', probe: () => listTable(4, 'nat') },
  { name: 'nftables', probe: () => listChain({ family: 'inet', table: 'plexus', name: 'none' }) },
];
