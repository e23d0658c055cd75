import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { plannedList } from '../../attach/plan.ts';
import type { Entry, PlannedAttachment } from '../../journal/entry.ts';
import { isKernelError } from '../../linux/errors.ts';
import { NetworkNamespace } from '../../linux/namespace.ts';
import { formatIP, toBigInt } from '../../net/ip.ts';
import { hostLocalConfigs } from '../../observe/wanted.ts';
import { parseDirectory } from '../../plugins/host-local/config.ts';
import { lookAtReservations } from '../../plugins/host-local/look.ts';
import { containerIdOf, describeOwner, type Reservation } from '../../plugins/host-local/reservations.ts';

/**
 * Whether a sandbox's namespace is gone, and the sandbox with it. Where the directory of namespaces is not there either,
 * this may be the wrong place to look from, such as a container without it: then it counts as there.
 */
export async function isGone({ plan: { netns } }: Entry): Promise<boolean> {
  try {
    using _ = NetworkNamespace.open(netns);
    return false;
  } catch (error) {
    // The file of a namespace that was unmounted is left behind empty.
    if (!isKernelError(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) throw error;
  }
  // The directory of a process goes with it.
  const directory = netns.startsWith('/proc/') ? '/proc/self' : dirname(netns);
  return access(directory).then(
    () => true,
    () => false,
  );
}

/** An address that host-local keeps for nobody that the journal knows. */
export interface StrayAddress {
  readonly address: string;
  readonly directory: string;
  /** What its file says: a container, or any word that somebody wrote. */
  readonly owner: string;
}

/**
 * Looks through the networks of the journal.
 *
 * @param containers Tells the containers that the journal has, also of entries that cannot be read. Asked last, for an
 *   address is given away only after its container is in the journal.
 */
export async function strayAddresses(
  entries: readonly Entry[],
  containers: () => Promise<ReadonlySet<string>>,
): Promise<StrayAddress[]> {
  const directories = new Set(entries.flatMap(({ plan }) => plan.attachments.flatMap(directoriesOf)));
  const kept: (Reservation & { readonly directory: string })[] = [];
  for (const directory of [...directories].sort()) {
    const all = [...(await lookAtReservations(directory))].map((each) => ({ ...each, directory }));
    kept.push(...all.sort((a, b) => (toBigInt(a.ip) < toBigInt(b.ip) ? -1 : 1)));
  }
  const known = await containers();
  return kept
    .filter(({ owner }) => !known.has(containerIdOf(owner)))
    .map(({ ip, owner, directory }) => ({
      address: formatIP(ip),
      directory,
      owner: owner.includes('\r\n') ? describeOwner(owner) : owner,
    }));
}

/** Where host-local keeps an attachment's addresses; nowhere for one whose configuration makes no sense. */
function directoriesOf(planned: PlannedAttachment): string[] {
  try {
    return hostLocalConfigs(plannedList(planned)).map(parseDirectory);
  } catch {
    return [];
  }
}
