import type { JsonValue } from '../../cni/json.ts';
import { listTable } from '../../linux/iptables.ts';
import { listChain } from '../../linux/nftables.ts';
import { type Finding, fine, lacking, messageOf, needers } from './finding.ts';
import type { UsedNetwork } from './networks.ts';

/** What networks have addresses translated for. */
interface Use {
  readonly what: 'masquerading' | 'port mappings';
  /** Empty: either will do. */
  readonly backend: string;
  readonly network: string;
}

const reasons = { masquerading: 'ipMasq is set, and ', 'port mappings': '' } as const;

/**
 * Whether this node can translate addresses in the way that networks with `ipMasq` or the plugin portmap want it, by asking
 * for the rules there are.
 */
export async function checkTranslation(
  networks: readonly UsedNetwork[],
  builtin: ReadonlySet<string>,
): Promise<Finding[]> {
  const uses = networks.flatMap(({ name, list }) =>
    list.plugins.flatMap(({ type, ipMasq, ipMasqBackend, backend }): Use[] => {
      if (!builtin.has(type)) return [];
      if (type === 'portmap') return [{ what: 'port mappings', backend: text(backend), network: name }];
      return ipMasq === true ? [{ what: 'masquerading', backend: text(ipMasqBackend), network: name }] : [];
    }),
  );
  const alike = Map.groupBy(uses, ({ what, backend }) => `${what} ${backend}`);
  return Promise.all([...alike.values()].flatMap(([first, ...others]) => (first ? [checkBackend(first, others)] : [])));
}

const text = (value: JsonValue | undefined): string => (typeof value === 'string' ? value : '');

/** @param others Uses that want the same. */
async function checkBackend({ what, backend, network }: Use, others: readonly Use[]): Promise<Finding> {
  const users = needers([network, ...others.map((other) => other.network)]);
  const wanted = probes.filter(({ name }) => backend === '' || backend === name);
  const problems: string[] = [];
  for (const { name, probe } of wanted) {
    try {
      await probe();
      return fine(what, `${users}: by ${name}`);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  if (wanted.length === 0) return lacking(what, `${users}: no backend "${backend}"`, 'correct the configuration');
  const remedy = `install ${wanted.map(({ name }) => name).join(' or ')}, and a kernel that has it`;
  return lacking(what, `${users}: ${reasons[what]}${problems.join('; ')}`, remedy);
}

/** Under the names that configurations have for them. */
const probes: readonly { readonly name: string; readonly probe: () => Promise<unknown> }[] = [
  { name: 'iptables', probe: () => listTable(4, 'nat') },
  { name: 'nftables', probe: () => listChain({ family: 'inet', table: 'plexus', name: 'none' }) },
];
