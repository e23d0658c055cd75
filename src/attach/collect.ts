import { gcList } from '../cni/chain.ts';
import type { NetworkConfigList } from '../cni/config.ts';
import { toCniError } from '../cni/error.ts';
import type { PluginRunner } from '../cni/plugin.ts';
import type { Entry } from '../journal/entry.ts';
import type { Journal, Key } from '../journal/journal.ts';
import { plannedList } from './plan.ts';

/**
 * The attachments of the journal that the runtime no longer knows: what they hold is to be released (specification
 * 1.1.0, GC).
 *
 * @param valid The runtime's `cni.dev/valid-attachments`.
 */
export async function staleKeys(journal: Journal, valid: readonly Key[]): Promise<Key[]> {
  const known = new Set(valid.map(text));
  return (await journal.list()).filter((key) => !known.has(text(key)));
}

/**
 * Lets the plugins of every network that is in use, and of the default network, remove what belongs to no attachment.
 * The runtime knows only its own interface of a sandbox, so each network is told the attachments that the journal has.
 *
 * Where the runtime knows a sandbox that the journal does not, it was attached by another meta-plugin before Plexus took
 * over, and nobody knows to what. Then only the default network is collected, to which the runtime's list is the truth.
 *
 * @param runtime The runtime's `cni.dev/valid-attachments`.
 * @returns What could not be collected, a line for each network.
 */
export async function collectNetworks(
  journal: Journal,
  defaultList: NetworkConfigList,
  runtime: readonly Key[],
  path: readonly string[],
  runner: PluginRunner,
): Promise<string[]> {
  const networks = new Map<string, { list: NetworkConfigList; valid: Key[] }>();
  networks.set(networkKey(defaultList), { list: defaultList, valid: [...runtime] });
  const known = await journal.list();
  if (isSubset(runtime, known)) {
    for (const key of known) {
      const entry = await journal.read(key);
      if (entry !== undefined) register(entry, networks);
    }
  }
  const failures: string[] = [];
  for (const { list, valid } of networks.values()) {
    try {
      await gcList(list, valid, path, runner);
    } catch (error) {
      failures.push(`network ${list.name}: ${toCniError(error).message}`);
    }
  }
  return failures;
}

function register(entry: Entry, networks: Map<string, { list: NetworkConfigList; valid: Key[] }>): void {
  for (const planned of entry.plan.attachments) {
    if (entry.deleted.has(planned.ifName)) continue;
    const list = plannedList(planned);
    const key = networkKey(list);
    const known = networks.get(key) ?? { list, valid: [] };
    known.valid.push({ containerId: entry.plan.containerId, ifName: planned.ifName });
    networks.set(key, known);
  }
}

/** Two configurations of one name are two networks: each plugin must see the one it was called with. */
const networkKey = (list: NetworkConfigList): string => JSON.stringify([list.name, list.plugins]);

function isSubset(some: readonly Key[], all: readonly Key[]): boolean {
  const texts = new Set(all.map(text));
  return some.every((key) => texts.has(text(key)));
}

const text = ({ containerId, ifName }: Key): string => `${containerId}:${ifName}`;
