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
import { restoreDefaultRoutes, setDefaultRoutes } from './default-route.ts';
import { devicesIn, withDevices } from './devices.ts';
import { freeName } from './difference.ts';
import { hasInterface } from './network-status.ts';
import { planNetwork } from './plan.ts';
import { podLinks } from './pod-links.ts';
import type { PodNetwork } from './pod-networks.ts';
import { type ReleaseContext, releaseOne } from './release.ts';
import type { Settings } from './settings.ts';

/* One network of a running pod: attached or detached, each step in the journal before it is taken. */

/** What attaching a network needs to know of its pod. */
export interface AttachRequest {
  readonly key: Key;
  readonly pod: Pod;
  readonly settings: Settings;
  readonly cluster: Cluster;
  /** Tells the pod's user something. */
  readonly tell: (event: PodEvent) => void;
}

/** What the journal has of a sandbox that runs; undefined for any other. */
export async function runningEntry(key: Key, { journal }: ReleaseContext): Promise<Entry | undefined> {
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
export async function detachOne(
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
export interface Coming {
  readonly find: () => Promise<PodNetwork>;
  /** Undefined where it is left to us. */
  readonly ifName: string | undefined;
  /** Names that others ask for. */
  readonly reserved: readonly string[];
}

/** @throws {CniError} when it failed. Nothing of it is left, unless the details say so; then the journal keeps it. */
export async function attachNetwork(
  { find, ifName: named, reserved }: Coming,
  { key, pod, settings, cluster, tell }: AttachRequest,
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
