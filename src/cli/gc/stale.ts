import { access } from 'node:fs/promises';
import { dirname } from 'node:path';
import { plannedList } from '../../attach/plan.ts';
import type { Entry } from '../../journal/entry.ts';
import { isKernelError } from '../../linux/errors.ts';
import { NetworkNamespace } from '../../linux/namespace.ts';
import { formatIP, toBigInt } from '../../net/ip.ts';
import { parseDirectory } from '../../plugins/host-local/config.ts';
import { lookAtReservations } from '../../plugins/host-local/look.ts';
import { describeOwner, ownerOf } from '../../plugins/host-local/reservations.ts';
import { hostLocalConfigs } from '../status/wanted.ts';

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

/** Looks through the networks of the journal. */
export async function strayAddresses(entries: readonly Entry[]): Promise<StrayAddress[]> {
  const known = new Set<string>();
  const directories = new Set<string>();
  for (const { plan, deleted } of entries) {
    // A file of a version before 0.8 names the container alone.
    known.add(plan.containerId);
    for (const planned of plan.attachments.filter(({ ifName }) => !deleted.has(ifName))) {
      known.add(ownerOf(plan.containerId, planned.ifName));
      for (const config of hostLocalConfigs(plannedList(planned))) directories.add(parseDirectory(config));
    }
  }
  const stray: StrayAddress[] = [];
  for (const directory of [...directories].sort()) {
    const unknown = [...(await lookAtReservations(directory))].filter(({ owner }) => !known.has(owner));
    unknown.sort((a, b) => (toBigInt(a.ip) < toBigInt(b.ip) ? -1 : 1));
    for (const { ip, owner } of unknown) {
      stray.push({ address: formatIP(ip), directory, owner: owner.includes('\r\n') ? describeOwner(owner) : owner });
    }
  }
  return stray;
}
