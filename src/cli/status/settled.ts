import type { Entry } from '../../journal/entry.ts';
import { compareSandboxes } from '../../observe/compare.ts';
import type { Sandboxes } from '../sandboxes.ts';
import type { StatusReport } from './report.ts';

/**
 * Compares all sandboxes with what is there. What a call of the runtime is just changing would look wrong: where anything
 * differs, its entry is read once more after a moment, and only what differs from that counts.
 *
 * @param read Reads the journal.
 * @param moment Longer than an ADD or DEL takes.
 */
export async function settledStatus(
  read: () => Promise<Sandboxes>,
  moment: () => Promise<unknown>,
): Promise<Omit<StatusReport, 'spool'>> {
  const { entries, unreadable } = await read();
  const attachments = await compareSandboxes(entries);
  const differing = new Set(
    attachments.flatMap(({ entry, differences }) => (differences.length > 0 ? [keyOf(entry)] : [])),
  );
  if (differing.size === 0) return { attachments, unreadable };
  await moment();
  const later = await read();
  const again = await compareSandboxes(later.entries.filter((entry) => differing.has(keyOf(entry))));
  const all = [...attachments.filter(({ entry }) => !differing.has(keyOf(entry))), ...again];
  all.sort((a, b) => a.entry.plan.plannedAt - b.entry.plan.plannedAt);
  return { attachments: all, unreadable: later.unreadable };
}

const keyOf = ({ plan: { containerId, ifName } }: Entry): string => `${containerId}:${ifName}`;
