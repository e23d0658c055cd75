import { parseArgs } from '../cni/args.ts';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { DefaultRoute, Entry, PlannedAttachment } from '../journal/entry.ts';
import type { Key, Recording } from '../journal/journal.ts';
import type { Cluster } from '../kubernetes/cluster.ts';
import type { PodEvent } from '../kubernetes/events.ts';
import type { Pod } from '../kubernetes/schemas.ts';
import { isKernelError } from '../linux/errors.ts';
import { isOwnNamespace } from '../linux/namespace.ts';
import { addedMessage, attachOne, UndoneError } from './attach-one.ts';
import { attachedNetworks } from './attached-networks.ts';
import { auxiliaryChain } from './auxiliary-chain.ts';
import { findFurtherNetworks } from './default-network.ts';
import { restoreDefaultRoutes, setDefaultRoutes } from './default-route.ts';
import { devicesIn, withDevices } from './devices.ts';
import { bySettled, type Difference, difference, freeName } from './difference.ts';
import { invalidConfig } from './invalid-config.ts';
import { hasInterface } from './network-status.ts';
import { planNetwork } from './plan.ts';
import { podLinks } from './pod-links.ts';
import { findSelected, networksOf, type PodNetwork, requestedNetworks } from './pod-networks.ts';
import { type ReleaseContext, releaseOne } from './release.ts';
import type { Settings } from './settings.ts';

/** Whose networks are to be as its annotation has them. */
export interface ChangeRequest {
  readonly key: Key;
  readonly pod: Pod;
  readonly settings: Settings;
  readonly cluster: Cluster;
  /** Whether the pod is still to be changed: asked before each step, for a pod may be deleted meanwhile. */
  readonly isWanted: () => boolean;
  /** Tells the pod's user something. */
  readonly tell: (event: PodEvent) => void;
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
  let lacking: readonly PodNetwork[];
  try {
    lacking = await lackingNetworks(entry, request);
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
  for (const network of lacking.filter(({ isAuxiliary }) => !isAuxiliary))
    await add(network.found.name, async () => network);
  for (const { selection, ifName } of attach) {
    const find = async () => ({ ...(await findSelected(selection, settings, cluster)), isDefault: false });
    await add(`${selection.namespace}/${selection.name}`, find, ifName);
  }
  for (const network of lacking.filter(({ isAuxiliary }) => isAuxiliary))
    await add(network.found.name, async () => network);
  if (failed.length === 0 && isWanted()) await recording.add({ step: 'settled', networks });
  return { changed: detach.length + attach.length + lacking.length > 0, failed };
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
 * @throws {CniError} while something of it is still held.
 */
export async function detachHeld(
  key: Key,
  isThis: (planned: PlannedAttachment) => boolean,
  context: ReleaseContext,
): Promise<PlannedAttachment | undefined> {
  const entry = await runningEntry(key, context);
  const planned = entry?.plan.attachments.findLast((each) => each.selection !== undefined && isThis(each));
  if (entry === undefined || planned === undefined) return undefined;
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

/** What the journal has of a sandbox that runs; undefined for any other. */
async function runningEntry(key: Key, { journal }: ReleaseContext): Promise<Entry | undefined> {
  const entry = await journal.read(key);
  if (!entry?.complete || entry.deleted.size > 0) return undefined;
  const { netns } = entry.plan;
  try {
    if (isOwnNamespace(netns)) return undefined;
    await podLinks(netns);
    return entry;
  } catch (error) {
    // The file of a namespace that was unmounted is left behind empty.
    if (isKernelError(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) return undefined;
    throw error;
  }
}

/** @throws {CniError} while something of it is still held: it counts as being detached then; and for a lost default route. */
async function detachOne(
  planned: PlannedAttachment,
  entry: Entry,
  recording: Recording,
  context: ReleaseContext,
  held = false,
): Promise<void> {
  const { ifName } = planned;
  const { netns } = entry.plan;
  await recording.add({ step: 'detaching', ifName });
  await releaseOne(planned, entry, netns, context);
  const problem = await restored(netns, entry.takenRoutes.get(ifName) ?? []);
  await recording.add({ step: 'detached', ifName, ...(held && { held }) });
  if (problem === undefined) return;
  const lost = `interface ${ifName} is detached, but the default route that the pod had before cannot be given back`;
  throw new CniError(ErrorCode.Internal, `${lost}: ${problem}`);
}

/** @returns Why routes could not be given back: that holds nothing, and is no better when it is tried again. */
async function restored(netns: string, taken: readonly DefaultRoute[]): Promise<string | undefined> {
  try {
    if (taken.length > 0) await restoreDefaultRoutes(netns, taken);
    return undefined;
  } catch (error) {
    return toCniError(error).message;
  }
}

/** A network that is to be attached. */
interface Coming {
  readonly find: () => Promise<PodNetwork>;
  /** Undefined where it is left to us. */
  readonly ifName: string | undefined;
  /** Names that others ask for. */
  readonly reserved: readonly string[];
}

/** @throws {CniError} when it failed. Nothing of it is left, unless the details say so; then the journal keeps it. */
async function attachNetwork(
  { find, ifName: named, reserved }: Coming,
  { key, pod, settings, cluster, tell }: ChangeRequest,
  recording: Recording,
  context: ReleaseContext,
): Promise<void> {
  const entry = await runningEntry(key, context);
  if (entry === undefined) return;
  const { plan } = entry;
  const asked = await find();
  const ifName = await nameFor(named, reserved, entry);
  const [network = asked] = await withDevices([asked], { pod, cluster, settings }, devicesIn(plan.attachments));
  const ready = planNetwork(network, ifName, { runtimeConfig: {}, settings, attachment: plan });
  await recording.add({ step: 'planned', attachment: ready.planned });
  const attachment = {
    containerId: plan.containerId,
    netns: plan.netns,
    ifName: plan.ifName,
    args: parseArgs(plan.args),
    path: context.path,
  };
  try {
    const { result, raw } = await attachOne(ready, attachment, context);
    await setDefaultRoutes(plan.netns, [{ ...ready.planned, result }], (_, taken) =>
      recording.add({ step: 'default-route', ifName, taken }),
    );
    await recording.add({ step: 'added', ifName, result: raw });
    if (!hasInterface({ ...ready.planned, result })) return;
    tell({ type: 'Normal', reason: 'AddedInterface', message: addedMessage(ready, result) });
  } catch (error) {
    await undo(ready.planned, error, key, recording, context);
  }
}

/** @throws {CniError} 7 when the name is taken: a plugin that fails for it would be asked to remove what has it. */
async function nameFor(named: string | undefined, reserved: readonly string[], { plan, held }: Entry): Promise<string> {
  const own = plan.attachments.map(({ ifName }) => ifName);
  const links = await podLinks(plan.netns);
  if (named === undefined) return freeName(new Set([...own, ...reserved, ...held.keys(), ...links.keys()]));
  if (!own.includes(named) && !links.has(named)) return named;
  const whose = own.includes(named) ? 'what had it before is still being detached' : 'the pod has one of that name';
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `interface ${named} cannot be attached: ${whose}`,
    own.includes(named) ? '' : 'name another interface, or remove that one',
  );
}

/** Releases what a failed attachment had made, and throws what it failed with. */
async function undo(
  planned: PlannedAttachment,
  error: unknown,
  key: Key,
  recording: Recording,
  context: ReleaseContext,
): Promise<never> {
  const { code, message, details } = toCniError(error);
  let held = '';
  try {
    const entry = await context.journal.read(key);
    if (error instanceof UndoneError) await recording.add({ step: 'detached', ifName: planned.ifName });
    else if (entry !== undefined) await detachOne(planned, entry, recording, context);
  } catch (second) {
    held = `still held: ${toCniError(second).message}`;
  }
  throw new CniError(code, message, [details, held].filter((text) => text !== '').join('; '), { cause: error });
}

function removed({ network, ifName }: PlannedAttachment, entry: Entry): PodEvent {
  const ips = attachedNetworks(entry).find((each) => each.ifName === ifName)?.result.ips ?? [];
  const addresses = ips.map(({ address }) => address).join(' ');
  return { type: 'Normal', reason: 'RemovedInterface', message: `Remove ${ifName} [${addresses}] from ${network}` };
}

const told = ({ message, details }: CniError): string => (details === '' ? message : `${message} (${details})`);
