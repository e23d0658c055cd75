import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { Result } from '../cni/result.ts';
import type { Plan, PlannedAttachment } from '../journal/entry.ts';
import type { Recording } from '../journal/journal.ts';
import { type NetworkStatus, networkStatusAnnotation } from '../kubernetes/status.ts';
import { addedMessage, attachOne, UndoneError } from './attach-one.ts';
import { setDefaultRoutes, withDefaultRoutes } from './default-route.ts';
import { type AttachedNetwork, hasInterface, networkStatus } from './network-status.ts';
import { type PlanRequest, planAttachments, type ReadyAttachment, type ReadyPlan } from './plan.ts';
import { podLinks } from './pod-links.ts';
import { explained, rejected } from './rejection.ts';
import { type ReleaseContext, releaseEntry } from './release.ts';
import { knownKeys, networksAnnotation, unknownKeys } from './selection.ts';
import { clearOfTaken } from './taken-names.ts';

/** An attachment that was made. */
type Made = PlannedAttachment & AttachedNetwork;

/**
 * Attaches a sandbox to its default network and to those that its pod asks for: all of them, or none.
 *
 * @returns The default network's result, which is what the runtime wants to know.
 * @throws {CniError} saying which attachment failed and why, with the code of the plugin that failed. Nothing is left of
 *   the others then; where one could not be undone, the details say so, and the journal keeps it for DEL.
 */
export async function addSandbox(request: PlanRequest, context: ReleaseContext): Promise<Result> {
  const ready = await planAttachments(request).catch((error: unknown) => rejected(error, request));
  const done: Made[] = [];
  await attachAll(ready, done, request, context);
  // Only now: the runtime has its answer before anything is written of it.
  tellAdded(done, request);
  tellUnknown(request);
  const [first] = done;
  if (first === undefined) throw new CniError(ErrorCode.Internal, 'a plan without a default network');
  return first.result;
}

/**
 * Makes all attachments of a plan, or none, and tells the pod's status of them.
 *
 * @param done What was made is added to it.
 */
async function attachAll(ready: ReadyPlan, done: Made[], request: PlanRequest, context: ReleaseContext): Promise<void> {
  const { attachment, pod } = request;
  await using recording = await begin(ready.plan, request, context).catch((error: unknown) => rejected(error, request));
  /** Those that hold nothing yet. */
  let waiting = ready.attachments;
  let isPublished = false;
  try {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const each = next;
      waiting = waiting.slice(1);
      const { result, raw, deviceInfo } = await attachOne(each, attachment, context);
      await recording.note({ step: 'added', ifName: each.planned.ifName, result: raw });
      done.push({ ...each.planned, result, deviceInfo });
      waiting = await rename(waiting, done, recording);
    }
    await setDefaultRoutes(attachment.netns, done, (ifName, taken) =>
      recording.add({ step: 'default-route', ifName, taken }),
    );
    await recording.note({ step: 'complete' });
    const publishing = statusesOf(attachment.netns, done, pod).then((statuses) => publish(statuses, request));
    // The disk and the API server work at the same time.
    const [published, synced] = await Promise.allSettled([publishing, syncAndClose(recording)]);
    isPublished = published.status === 'fulfilled';
    for (const outcome of [synced, published]) if (outcome.status === 'rejected') throw outcome.reason;
  } catch (error) {
    tellAdded(done, request);
    // The pod must not tell of networks that it does not have.
    if (isPublished) await publish([], request).catch(() => {});
    const unmade = waiting.map(({ planned }) => planned.ifName);
    if (error instanceof UndoneError) unmade.push(error.ifName);
    await undo(new Set(unmade), request, context, error);
  }
}

/** Records the names that attachments get in the place of those that were taken meanwhile, the last one first. */
async function rename(
  waiting: readonly ReadyAttachment[],
  done: readonly Made[],
  recording: Recording,
): Promise<readonly ReadyAttachment[]> {
  const renamed = clearOfTaken(waiting, done);
  for (const [place, { planned }] of [...waiting.entries()].toReversed()) {
    const to = renamed[place]?.planned.ifName ?? planned.ifName;
    if (to !== planned.ifName) await recording.add({ step: 'renamed', ifName: planned.ifName, to });
  }
  return renamed;
}

/** Events, in the order of the attachments. */
function tellAdded(done: readonly Made[], { cluster, pod }: PlanRequest): void {
  if (pod === undefined) return;
  for (const planned of done.filter(hasInterface)) {
    const message = addedMessage({ planned }, planned.result);
    cluster?.event(pod, { type: 'Normal', reason: 'AddedInterface', message });
  }
}

/** A key that is passed over is most likely something that the pod believes to have. */
function tellUnknown({ cluster, pod }: PlanRequest): void {
  const annotation = pod?.metadata.annotations[networksAnnotation];
  if (pod === undefined || annotation === undefined) return;
  const unknown = unknownKeys(annotation);
  if (unknown.length === 0) return;
  const told = unknown.slice(0, 5).join(', ');
  const message = `annotation ${networksAnnotation}: nobody knows ${told}: passed over; the keys are ${knownKeys.join(', ')}`;
  cluster?.event(pod, { type: 'Warning', reason: 'UnknownNetworkKey', message });
}

/**
 * Begins the journal's entry. A runtime that repeats an ADD has given up on the earlier one, or never heard its answer: what
 * that one made is released first, as it may have been made for another plan.
 */
async function begin(
  plan: Plan,
  { attachment }: PlanRequest,
  { journal, ...rest }: ReleaseContext,
): Promise<Recording> {
  try {
    return await journal.begin(plan);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  const earlier = await journal.read(attachment);
  if (earlier !== undefined) await releaseEntry(attachment, earlier, attachment.netns, { journal, ...rest });
  return journal.begin(plan);
}

async function syncAndClose(recording: Recording): Promise<void> {
  await recording.sync();
  await recording[Symbol.asyncDispose]();
}

/** What a pod tells of its networks; nothing where no pod is known. */
async function statusesOf(
  netns: string,
  attached: readonly Made[],
  pod: PlanRequest['pod'],
): Promise<readonly NetworkStatus[]> {
  if (pod === undefined) return [];
  const links = await podLinks(netns);
  return withDefaultRoutes(attached).flatMap((each) => networkStatus(each, links));
}

/** @throws {CniError} when the annotation cannot be written, and says what may be done about it. */
async function publish(statuses: readonly NetworkStatus[], { cluster, pod }: PlanRequest): Promise<void> {
  if (cluster === undefined || pod === undefined) return;
  try {
    await cluster.setNetworkStatus(pod, statuses);
  } catch (error) {
    throw new CniError(
      ErrorCode.TryAgainLater,
      `the annotation ${networkStatusAnnotation} of the pod cannot be written: ${toCniError(error).message}`,
      'see that the API server can be reached from the node, and that the role of the daemon may patch pods/status',
      { cause: error },
    );
  }
}

/** Releases what a failed ADD had made, and throws what it failed with. */
async function undo(
  unmade: ReadonlySet<string>,
  request: PlanRequest,
  context: ReleaseContext,
  error: unknown,
): Promise<never> {
  const { attachment } = request;
  const held: string[] = [];
  try {
    const entry = await context.journal.read(attachment);
    if (entry !== undefined) await releaseEntry(attachment, entry, attachment.netns, context, unmade);
  } catch (second) {
    held.push(toCniError(second).message);
  }
  const failure = explained(error);
  const details = [failure.details, ...held].filter((text) => text !== '').join('; ');
  return rejected(new CniError(failure.code, failure.message, details, { cause: error }), request);
}
