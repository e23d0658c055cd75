import { gcList } from '../cni/chain.ts';
import type { NetworkConfigList } from '../cni/config.ts';
import { toCniError } from '../cni/error.ts';
import type { Entry } from '../journal/entry.ts';
import type { Journal, Key } from '../journal/journal.ts';
import { plannedList } from './plan.ts';
import { type ReleaseContext, releaseEntry } from './release.ts';

export interface Collection {
  /** Undefined where it is not found. */
  readonly defaultNetwork: NetworkConfigList | undefined;
  /** The other networks that pods get without asking. */
  readonly further: readonly NetworkConfigList[];
  /** The runtime's `cni.dev/valid-attachments`. */
  readonly runtime: readonly Key[];
}

/** An attachment of the runtime, as the journal has it. */
interface Known {
  readonly key: Key;
  readonly entry: Entry;
  /** Whether the runtime no longer knows it. */
  readonly isStale: boolean;
}

/**
 * Releases the attachments that the runtime no longer knows, then lets the plugins of every network that is or was in use,
 * and of those that pods get without asking, remove what belongs to no attachment (specification 1.1.0, GC). The runtime
 * knows only its own interface of a sandbox, so each network is told the attachments that the journal has.
 *
 * Where the runtime knows a sandbox that the journal does not, it was attached by another meta-plugin before Plexus took
 * over, and nobody knows to what; likewise for an entry that cannot be read. Then only the default network is collected,
 * to which the runtime's list is the truth.
 *
 * @param released Told each attachment that was released.
 * @returns What could not be collected, a line for each attachment or network.
 */
export async function collectGarbage(
  { defaultNetwork, further, runtime }: Collection,
  context: ReleaseContext,
  released: (key: Key) => void = () => {},
): Promise<string[]> {
  const { known, failures } = await readAll(context.journal, runtime);
  const areAllKnown = failures.length === 0 && isSubset(runtime, known);
  for (const { key, entry, isStale } of known) {
    if (!isStale) continue;
    try {
      await releaseEntry(key, entry, entry.plan.netns, context);
      released(key);
    } catch (error) {
      failures.push(`container ${key.containerId}: ${toCniError(error).message}`);
    }
  }
  const first = defaultNetwork === undefined ? [] : [defaultNetwork];
  const used = known.flatMap(({ entry }) => entry.plan.attachments.map(plannedList));
  const valid = validByName(known, defaultNetwork, runtime);
  for (const list of distinct(areAllKnown ? [...first, ...further, ...used] : first)) {
    try {
      await gcList(list, [...(valid.get(list.name)?.values() ?? [])], context.path, context.runner);
    } catch (error) {
      failures.push(`network ${list.name}: ${toCniError(error).message}`);
    }
  }
  return failures;
}

async function readAll(journal: Journal, runtime: readonly Key[]): Promise<{ known: Known[]; failures: string[] }> {
  const valid = new Set(runtime.map(text));
  const known: Known[] = [];
  const failures: string[] = [];
  for (const key of await journal.list()) {
    try {
      const entry = await journal.read(key);
      if (entry !== undefined) known.push({ key, entry, isStale: !valid.has(text(key)) });
    } catch (error) {
      failures.push(`container ${key.containerId}: ${toCniError(error).message}`);
    }
  }
  return { known, failures };
}

/**
 * What is attached to each network, by its name: plugins keep what they gave out by that, so that two configurations of one
 * name share it, such as those before and after somebody changed the network.
 */
function validByName(
  known: readonly Known[],
  defaultNetwork: NetworkConfigList | undefined,
  runtime: readonly Key[],
): ReadonlyMap<string, ReadonlyMap<string, Key>> {
  const valid = new Map<string, Map<string, Key>>();
  const add = (name: string, key: Key): void => {
    const ofName = valid.get(name) ?? new Map<string, Key>();
    valid.set(name, ofName.set(text(key), key));
  };
  if (defaultNetwork !== undefined) for (const key of runtime) add(defaultNetwork.name, key);
  for (const { entry, isStale } of known) {
    if (isStale) continue;
    for (const planned of entry.plan.attachments) {
      if (entry.deleted.has(planned.ifName)) continue;
      add(plannedList(planned).name, { containerId: entry.plan.containerId, ifName: planned.ifName });
    }
  }
  return valid;
}

/** Each configuration once: a plugin is to see every one that it was called with. */
function distinct(lists: readonly NetworkConfigList[]): Iterable<NetworkConfigList> {
  return new Map(lists.map((list) => [JSON.stringify([list.name, list.plugins]), list])).values();
}

function isSubset(some: readonly Key[], all: readonly Known[]): boolean {
  const texts = new Set(all.map(({ key }) => text(key)));
  return some.every((key) => texts.has(text(key)));
}

const text = ({ containerId, ifName }: Key): string => `${containerId}:${ifName}`;
