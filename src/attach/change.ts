import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { Entry, PlannedAttachment } from '../journal/entry.ts';
import type { Key } from '../journal/journal.ts';
import type { PodEvent } from '../kubernetes/events.ts';
import { attachedNetworks } from './attached-networks.ts';
import { auxiliaryChain } from './auxiliary-chain.ts';
import { type AttachRequest, attachNetwork, detachOne, runningEntry } from './change-one.ts';
import { findFurtherNetworks } from './default-network.ts';
import { bySettled, type Difference, difference } from './difference.ts';
import { invalidConfig } from './invalid-config.ts';
import { findSelected, networksOf, type PodNetwork, requestedNetworks } from './pod-networks.ts';
import type { ReleaseContext } from './release.ts';

/** Whose networks are to be as its annotation has them. */
export interface ChangeRequest extends AttachRequest {
  /** Whether the pod is still to be changed: asked before each step, for a pod may be deleted meanwhile. */
  readonly isWanted: () => boolean;
}

export interface ChangeOutcome {
  /** Whether anything was attached or detached. */
  readonly changed: boolean;
  /** The networks, `namespace/name`, that could not be attached or detached; it may be possible later. */
  readonly failed: readonly string[];
}

const nothing: ChangeOutcome = { changed: false, failed: [] };

/**
 * Attaches and detaches what a running pod's networks annotation asks for and the journal does not have, or the other way
 * round: each network alone, so that one that fails keeps none of the others. Never to run beside a call of the runtime for
 * the sandbox.
 *
 * An annotation that cannot be followed changes nothing. A sandbox that is gone, or whose ADD or DEL has not ended, is left
 * alone.
 */
export async function changeSandbox(request: ChangeRequest, context: ReleaseContext): Promise<ChangeOutcome> {
  const { key, pod, settings, cluster, isWanted, tell } = request;
  const networks = networksOf(pod);
  const entry = await runningEntry(key, context);
  if (entry === undefined || isSettled(entry, networks)) return nothing;
  let wanted: Difference;
  try {
    const { selections } = requestedNetworks(pod, settings);
    wanted = invalidConfig(() => difference(entry, selections));
  } catch (error) {
    tell({ type: 'Warning', reason: 'FailedAddingInterface', message: told(toCniError(error)) });
    return nothing;
  }
  const { detach, attach, unheld } = wanted;
  await using recording = await context.journal.resume(key);
  for (const ifName of unheld) await recording.add({ step: 'unheld', ifName });
  const failed: string[] = [];
  const attempt = async (network: string, reason: string, change: () => Promise<void>): Promise<void> => {
    if (!isWanted()) return;
    try {
      await change();
    } catch (error) {
      failed.push(network);
      tell({ type: 'Warning', reason, message: told(toCniError(error)) });
    }
  };
  const every: PodNetwork[] = [];
  await attempt('', 'FailedAddingInterface', async () => {
    every.push(...(await lackingNetworks(entry, request)));
  });
  for (const planned of detach.toReversed()) {
    await attempt(planned.network, 'FailedRemovingInterface', async () => {
      await detachOne(planned, entry, recording, context);
      if (entry.results.has(planned.ifName)) tell(removed(planned, entry));
    });
  }
  const reserved = attach.flatMap(({ ifName }) => ifName ?? []);
  const add = (network: string, find: () => Promise<PodNetwork>, ifName?: string): Promise<void> =>
    attempt(network, 'FailedAddingInterface', () =>
      attachNetwork({ find, ifName, reserved }, request, recording, context),
    );
  // In the order of an ADD: what every pod gets, what this one asks for, and the auxiliary chain.
  const first = every.filter(({ isAuxiliary }) => !isAuxiliary);
  const last = every.filter(({ isAuxiliary }) => isAuxiliary);
  for (const network of first) await add(network.found.name, async () => network);
  for (const { selection, ifName } of attach) {
    const find = async () => ({ ...(await findSelected(selection, settings, cluster)), isDefault: false });
    await add(`${selection.namespace}/${selection.name}`, find, ifName);
  }
  for (const network of last) await add(network.found.name, async () => network);
  if (failed.length === 0 && isWanted()) await recording.add({ step: 'settled', networks });
  return { changed: detach.length + attach.length + every.length > 0, failed };
}

/**
 * Whether an annotation was carried out already. Its elements are not compared then: a newer Plexus may read them otherwise,
 * and must not take all pods of a node apart for it.
 */
function isSettled(entry: Entry, networks: string): boolean {
  const [, unsettled] = bySettled(entry);
  return entry.settled === networks && unsettled.length === 0;
}

/**
 * Detaches one attachment of a running pod now, whatever its annotation says, and holds it back: it is not attached again
 * until the annotation has ceased to ask for it.
 *
 * @param isThis Which one.
 * @returns The attachment that was detached; undefined when there is none such.
 * @throws {CniError} 7 when there are several; else while something of it is still held.
 */
export async function detachHeld(
  key: Key,
  isThis: (planned: PlannedAttachment) => boolean,
  context: ReleaseContext,
): Promise<PlannedAttachment | undefined> {
  const entry = await runningEntry(key, context);
  const found = entry?.plan.attachments.filter((each) => each.selection !== undefined && isThis(each)) ?? [];
  const [planned, ...more] = found;
  if (entry === undefined || planned === undefined) return undefined;
  if (more.length > 0) {
    const names = found.map(({ ifName }) => ifName).join(', ');
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `the pod is attached to ${planned.network} several times: name one of the interfaces ${names}`,
    );
  }
  await using recording = await context.journal.resume(key);
  await detachOne(planned, entry, recording, context, true);
  return planned;
}

/**
 * Releases what was being attached or detached when a daemon was killed, from the journal alone.
 *
 * @returns Whether there was any.
 * @throws {CniError} while something is still held.
 */
export async function releaseUnsettled(key: Key, context: ReleaseContext): Promise<boolean> {
  const entry = await runningEntry(key, context);
  if (entry === undefined) return false;
  const [, unsettled] = bySettled(entry);
  if (unsettled.length === 0) return false;
  await using recording = await context.journal.resume(key);
  for (const planned of unsettled.toReversed()) await detachOne(planned, entry, recording, context);
  return true;
}

/** What every pod gets without asking, and one does not have that the shim attached to its default network alone. */
async function lackingNetworks(entry: Entry, { pod, settings, cluster }: ChangeRequest): Promise<PodNetwork[]> {
  if (!entry.adopted) return [];
  const further = await findFurtherNetworks(pod.metadata.namespace, settings, cluster);
  const auxiliary = await auxiliaryChain(settings);
  const [settled] = bySettled(entry);
  return [
    ...further.map((found) => ({ found, isDefault: false })),
    ...auxiliary.map((found) => ({ found, isDefault: false, isAuxiliary: true })),
  ].filter(({ found }) => settled.every(({ source }) => source !== found.source));
}

function removed({ network, ifName }: PlannedAttachment, entry: Entry): PodEvent {
  const ips = attachedNetworks(entry).find((each) => each.ifName === ifName)?.result.ips ?? [];
  const addresses = ips.map(({ address }) => address).join(' ');
  return { type: 'Normal', reason: 'RemovedInterface', message: `Remove ${ifName} [${addresses}] from ${network}` };
}

const told = ({ message, details }: CniError): string => (details === '' ? message : `${message} (${details})`);
