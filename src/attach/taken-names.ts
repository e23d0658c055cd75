import type { PlannedAttachment } from '../journal/entry.ts';
import { interfaceNames } from './interface-names.ts';
import { invalidConfig } from './invalid-config.ts';
import type { AttachedNetwork } from './network-status.ts';
import type { ReadyAttachment } from './plan.ts';

/**
 * The attachments that are still to be made, under names that nobody has: a network may have made more interfaces than the
 * one that was asked of it, and that is known only when it has.
 *
 * @param done The attachments before them, as they were made.
 * @throws {CniError} 7 when the pod asks for a name that is taken.
 */
export function clearOfTaken(
  waiting: readonly ReadyAttachment[],
  done: readonly AttachedNetwork[],
): readonly ReadyAttachment[] {
  const own = done.map(({ ifName }) => ifName);
  const made = done.flatMap(({ result }) => result.interfaces.flatMap(({ name, sandbox }) => (sandbox ? name : [])));
  const taken = made.filter((name) => !own.includes(name));
  if (!waiting.some(({ planned }) => taken.includes(planned.ifName))) return waiting;
  const requested = waiting.map(({ planned }) => (isRequested(planned) ? planned.ifName : undefined));
  const names = invalidConfig(() => interfaceNames([...own, ...requested], ['lo', ...taken]));
  return waiting.map((each, place) => {
    const ifName = names[done.length + place] ?? each.planned.ifName;
    return ifName === each.planned.ifName ? each : { ...each, planned: { ...each.planned, ifName } };
  });
}

const isRequested = ({ isDefault, selection }: PlannedAttachment): boolean =>
  isDefault || selection?.interface !== undefined;
