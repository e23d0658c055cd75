import { parseArgs } from '../cni/args.ts';
import { deleteList } from '../cni/chain.ts';
import { CniError, toCniError } from '../cni/error.ts';
import type { PluginRunner } from '../cni/plugin.ts';
import type { Entry, PlannedAttachment } from '../journal/entry.ts';
import type { Journal, Key } from '../journal/journal.ts';
import { removeFile } from '../linux/atomic-file.ts';
import { plannedList } from './plan.ts';

/** One attachment that was made or released, or was not. */
export interface AttachmentReport {
  readonly command: 'ADD' | 'DEL';
  readonly planned: PlannedAttachment;
  /** The type of the first plugin of its chain. */
  readonly plugin: string;
  readonly milliseconds: number;
  readonly error?: CniError | undefined;
}

export interface ReleaseContext {
  readonly journal: Journal;
  readonly runner: PluginRunner;
  /** Where executed plugins are looked for. */
  readonly path: readonly string[];
  readonly report: (report: AttachmentReport) => void;
}

/**
 * Releases all that an entry of the journal stands for, the last attachment first, from the journal alone: what was
 * begun but not finished is released as well. A failure does not keep the others from being released; it keeps the
 * entry, so that the next DEL goes on from there.
 *
 * @param netns The sandbox's namespace; empty when it is gone.
 * @param unmade Interface names of attachments that are known to hold nothing.
 * @throws {CniError} with the code of the first failure, naming each attachment that is still held, and why.
 */
export async function releaseEntry(
  key: Key,
  entry: Entry,
  netns: string,
  context: ReleaseContext,
  unmade: ReadonlySet<string> = new Set(),
): Promise<void> {
  const { plan } = entry;
  const failures: CniError[] = [];
  const released: string[] = [];
  for (const planned of plan.attachments.toReversed()) {
    if (entry.deleted.has(planned.ifName) || unmade.has(planned.ifName)) continue;
    try {
      await releaseOne(planned, entry, netns, context);
      released.push(planned.ifName);
    } catch (error) {
      failures.push(toCniError(error));
    }
  }
  const [first] = failures;
  if (first !== undefined) {
    // What a full disk has no room for is released once more; that must not keep a node from emptying it.
    await noteReleased(key, released, context.journal).catch(() => {});
    const details = failures.flatMap((failure) => failure.details || []).join('; ');
    throw new CniError(first.code, `still held: ${failures.map(({ message }) => message).join('; ')}`, details);
  }
  await context.journal.remove(key);
}

/** For the next DEL, which need not call those again. Where this process ends before, it does: that changes nothing. */
async function noteReleased(key: Key, ifNames: readonly string[], journal: Journal): Promise<void> {
  await using recording = await journal.resume(key);
  for (const ifName of ifNames) await recording.note({ step: 'deleted', ifName });
}

/**
 * Releases one attachment of an entry, from what the entry has of it alone. It is reported, not recorded.
 *
 * @param netns The sandbox's namespace; empty when it is gone.
 * @throws {CniError} while something is still held, naming network and interface.
 */
export async function releaseOne(
  planned: PlannedAttachment,
  { plan, results }: Entry,
  netns: string,
  context: Pick<ReleaseContext, 'runner' | 'path' | 'report'>,
): Promise<void> {
  const { ifName, network, runtimeConfig, cniArgs, deviceId, deviceInfoFile } = planned;
  const attachment = { containerId: plan.containerId, netns, ifName, args: parseArgs(plan.args), path: context.path };
  const started = performance.now();
  let plugin = '';
  const report = (error?: CniError) =>
    context.report({ command: 'DEL', planned, plugin, milliseconds: performance.now() - started, error });
  try {
    const list = plannedList(planned);
    plugin = list.plugins[0]?.type ?? '';
    const prevResult = results.get(ifName);
    await deleteList(list, attachment, { runtimeConfig, cniArgs, deviceId, prevResult }, context.runner);
    if (deviceInfoFile !== undefined) await removeFile(deviceInfoFile);
    report();
  } catch (thrown) {
    const { code, message, details } = toCniError(thrown);
    const error = new CniError(code, `network ${network}, interface ${ifName}: ${message}`, details, { cause: thrown });
    report(error);
    throw error;
  }
}
