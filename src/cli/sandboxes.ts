import { join } from 'node:path';
import { toCniError } from '../cni/error.ts';
import type { DaemonConfig } from '../daemon/config.ts';
import type { Entry } from '../journal/entry.ts';
import { CorruptEntryError, Journal, type Key } from '../journal/journal.ts';
import { podOf } from '../observe/pod-of.ts';
import { isSystemError } from '../plugins/host-local/files.ts';

/** A file of the journal that cannot be read: what it stands for may be held. */
export interface Unreadable {
  readonly key: Key;
  readonly path: string;
  readonly message: string;
}

/** What the journal of a node says, read while the daemon may be writing it. */
export interface Sandboxes {
  /** In the order of their ADDs. */
  readonly entries: readonly Entry[];
  readonly unreadable: readonly Unreadable[];
}

export const journalDirectory = ({ stateDir }: DaemonConfig): string => join(stateDir, 'journal');

/**
 * Reads the journal and changes nothing.
 *
 * @param wanted `namespace/name` of a pod, or the beginning of a container's ID; undefined for all. What cannot be read
 *   may be of any pod.
 * @throws {Error} naming the directory, when it is not there or may not be read.
 */
export async function readSandboxes(config: DaemonConfig, wanted?: string): Promise<Sandboxes> {
  const directory = journalDirectory(config);
  const journal = Journal.look(directory);
  const entries: Entry[] = [];
  const unreadable: Unreadable[] = [];
  for (const key of await listed(journal, directory)) {
    try {
      const entry = await journal.read(key);
      if (entry !== undefined && (wanted === undefined || isWanted(wanted, entry))) entries.push(entry);
    } catch (error) {
      if (wanted !== undefined && !wanted.includes('/') && !key.containerId.startsWith(wanted)) continue;
      const path = error instanceof CorruptEntryError ? error.path : directory;
      unreadable.push({ key, path, message: toCniError(error).message });
    }
  }
  entries.sort((a, b) => a.plan.plannedAt - b.plan.plannedAt);
  return { entries, unreadable };
}

async function listed(journal: Journal, directory: string): Promise<Key[]> {
  try {
    return await journal.list();
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
    throw new Error(`${directory} is not there: no daemon had this --state-dir on this node`, { cause: error });
  }
}

/** IDs of all containers that the journal has. */
export const containersOf = ({ entries, unreadable }: Sandboxes): ReadonlySet<string> =>
  new Set([...entries.map(({ plan }) => plan.containerId), ...unreadable.map(({ key }) => key.containerId)]);

function isWanted(wanted: string, entry: Entry): boolean {
  return wanted.includes('/') ? podOf(entry) === wanted : entry.plan.containerId.startsWith(wanted);
}
