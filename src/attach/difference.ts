import { isDeepStrictEqual } from 'node:util';
import type { Entry, PlannedAttachment } from '../journal/entry.ts';
import { interfaceNames } from './interface-names.ts';
import type { NetworkSelection } from './selection.ts';

/** What a running pod's annotation asks for, less what the journal says it has, and the other way round. */
export interface Difference {
  /** Attachments that go: nobody asks for them any more, somebody asks for them otherwise, or they were never finished. */
  readonly detach: readonly PlannedAttachment[];
  /** Elements of the annotation that come, in its order. */
  readonly attach: readonly Wanted[];
  /** Interface names of what was held back, and is not asked for any more. */
  readonly unheld: readonly string[];
}

export interface Wanted {
  readonly selection: NetworkSelection;
  /** Undefined where it is left to us, see {@link freeName}. */
  readonly ifName: string | undefined;
}

/** An attachment that an element of the annotation may mean. */
interface Candidate {
  readonly planned: PlannedAttachment;
  readonly isHeld: boolean;
}

/**
 * Compares the elements of a pod's networks annotation with the attachments that were made for it; the default network,
 * and what every pod gets, is none of them.
 *
 * An element that names its interface means the attachment of that network and interface. One that leaves the name to us
 * means an attachment of its network that no other element means: one that was asked for in the same words, else the first.
 * What is meant by an element in other words is detached, and attached under its name again: plugins have no call to
 * change an attachment.
 *
 * @throws {Error} when two elements ask for one interface, or for one that the pod has by another right.
 */
export function difference(entry: Entry, wanted: readonly NetworkSelection[]): Difference {
  const { attachments } = entry.plan;
  const others = attachments.filter(({ selection }) => selection === undefined).map(({ ifName }) => ifName);
  interfaceNames(
    wanted.map((selection) => selection.interface),
    ['lo', ...others],
  );
  const [settled, unsettled] = bySettled(entry);
  const candidates: readonly Candidate[] = [
    ...settled.filter(({ selection }) => selection).map((planned) => ({ planned, isHeld: false })),
    ...[...entry.held.values()].map((planned) => ({ planned, isHeld: true })),
  ];
  const meant = meanings(wanted, candidates);
  const isKept = (selection: NetworkSelection): boolean => {
    const candidate = meant.get(selection);
    return candidate !== undefined && isSame(selection, candidate.planned);
  };
  const kept = new Set(wanted.filter(isKept).map((selection) => meant.get(selection)));
  const rest = candidates.filter((candidate) => !kept.has(candidate));
  return {
    detach: [...unsettled, ...rest.filter(({ isHeld }) => !isHeld).map(({ planned }) => planned)],
    attach: wanted
      .filter((selection) => !isKept(selection))
      .map((selection) => ({ selection, ifName: selection.interface ?? meant.get(selection)?.planned.ifName })),
    unheld: rest.filter(({ isHeld }) => isHeld).map(({ planned }) => planned.ifName),
  };
}

/** The attachments of a sandbox that are made, and those that were begun or half released and must be released first. */
export function bySettled({ plan, results, detaching }: Entry): [PlannedAttachment[], PlannedAttachment[]] {
  const isSettled = ({ ifName }: PlannedAttachment): boolean => results.has(ifName) && !detaching.has(ifName);
  return [plan.attachments.filter(isSettled), plan.attachments.filter((each) => !isSettled(each))];
}

/** The first of net1, net2, ... that is not used. */
export function freeName(used: ReadonlySet<string>): string {
  let number = 1;
  while (used.has(`net${number}`)) number++;
  return `net${number}`;
}

/** Which candidate each element means, if any. No candidate is meant twice. */
function meanings(
  wanted: readonly NetworkSelection[],
  candidates: readonly Candidate[],
): ReadonlyMap<NetworkSelection, Candidate> {
  const free = new Set(candidates);
  const meant = new Map<NetworkSelection, Candidate>();
  const match = (selection: NetworkSelection, isThis: (planned: PlannedAttachment) => boolean): void => {
    if (meant.has(selection)) return;
    const found = [...free].find(({ planned }) => isSameNetwork(selection, planned) && isThis(planned));
    if (found === undefined) return;
    free.delete(found);
    meant.set(selection, found);
  };
  const named = wanted.filter((selection) => selection.interface !== undefined);
  const unnamed = wanted.filter((selection) => selection.interface === undefined);
  const names = new Set(named.map((selection) => selection.interface));
  for (const selection of named) match(selection, ({ ifName }) => ifName === selection.interface);
  for (const selection of unnamed) match(selection, (each) => !names.has(each.ifName) && isSame(selection, each));
  for (const selection of unnamed) match(selection, (each) => !names.has(each.ifName));
  return meant;
}

const isSameNetwork = ({ namespace, name }: NetworkSelection, { selection }: PlannedAttachment): boolean =>
  selection?.namespace === namespace && selection.name === name;

/** Whether an element asks for what an attachment was made for; its interface's name may have been ours. */
function isSame(selection: NetworkSelection, planned: PlannedAttachment): boolean {
  return isDeepStrictEqual(words(selection), words(planned.selection ?? {}));
}

/** An element as the journal has it: values that are undefined are not in JSON. */
function words(element: object): unknown {
  return JSON.parse(JSON.stringify({ ...element, interface: undefined }));
}
