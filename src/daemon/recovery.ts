import { setTimeout as sleep } from 'node:timers/promises';
import { type AttachmentReport, releaseEntry } from '../attach/release.ts';
import { toCniError } from '../cni/error.ts';
import type { PluginRunner } from '../cni/plugin.ts';
import type { Journal, Key } from '../journal/journal.ts';
import type { Logger } from './log.ts';
import type { KeyedQueue } from './queue.ts';

/** Milliseconds before each further attempt. What is still held after the last is left to the runtime's DEL or GC. */
const defaultWaits: readonly number[] = [10_000, 60_000, 300_000];

export interface RecoveryContext {
  readonly journal: Journal;
  readonly runner: PluginRunner;
  /** Where executed plugins are looked for: what the runtime said at the time is not known any more. */
  readonly path: readonly string[];
  readonly queue: KeyedQueue;
  readonly log: Logger;
  readonly report: (report: AttachmentReport) => void;
  readonly waits?: readonly number[];
}

/**
 * The attachments whose ADD never ended: a daemon before this one was killed in its midst. To be asked before the first
 * call is taken, for an ADD that is under way looks just like them.
 */
export async function incompleteKeys(journal: Journal, log: Logger): Promise<Key[]> {
  const incomplete: Key[] = [];
  for (const key of await journal.list()) {
    try {
      const entry = await journal.read(key);
      if (entry !== undefined && !entry.complete) incomplete.push(key);
    } catch (error) {
      log.error({ ...key, err: error }, 'this attachment is left alone: what it holds cannot be known');
    }
  }
  return incomplete;
}

/**
 * Releases what ADDs that never ended have made. Nobody waits for their results: the runtime will repeat them or call
 * DEL, and is served after this, in the order of the queue, which all keys are put into before this first waits.
 * Whatever is complete meanwhile is not touched.
 */
export async function releaseIncomplete(
  keys: readonly Key[],
  context: RecoveryContext,
  signal: AbortSignal,
): Promise<void> {
  let held = await releaseEach(keys, context);
  for (const wait of context.waits ?? defaultWaits) {
    if (held.length === 0) return;
    await sleep(wait, undefined, { signal }).catch(() => {});
    if (signal.aborted) return;
    held = await releaseEach(held, context);
  }
  for (const key of held) context.log.error({ ...key }, 'still held, and left to the DEL or GC of the runtime');
}

/** @returns Those that are still held. */
async function releaseEach(keys: readonly Key[], context: RecoveryContext): Promise<Key[]> {
  const outcomes = keys.map(async (key) => {
    const released = await context.queue.run(key.containerId, () => release(key, context));
    return released ? [] : [key];
  });
  return (await Promise.all(outcomes)).flat();
}

async function release(key: Key, context: RecoveryContext): Promise<boolean> {
  const { journal, log } = context;
  const started = performance.now();
  let pod: string | undefined;
  try {
    const entry = await journal.read(key);
    if (entry === undefined || entry.complete) return true;
    pod = entry.plan.pod && `${entry.plan.pod.namespace}/${entry.plan.pod.name}`;
    await releaseEntry(key, entry, entry.plan.netns, context);
    log.info(
      { ...key, pod, durationMs: performance.now() - started },
      'released what an ADD that never ended had made',
    );
    return true;
  } catch (error) {
    const { code, message, details } = toCniError(error);
    log.warn({ ...key, pod, code, details }, `an ADD never ended, and could not be undone: ${message}`);
    return false;
  }
}
