import { channel } from 'node:diagnostics_channel';
import { plannedList } from '../../attach/plan.ts';
import { formatArgs } from '../../cni/args.ts';
import { toCniError } from '../../cni/error.ts';
import { readInvocation } from '../../cni/invocation.ts';
import { isJsonObject, type JsonObject } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import type { Attachment } from '../../cni/plugin.ts';
import type { Plan } from '../../journal/entry.ts';
import type { Journal } from '../../journal/journal.ts';
import type { Logger } from '../log.ts';
import type { SpoolDirectory, Waiting } from './directory.ts';
import { type AddRecord, decodeRecord, resultForJournal } from './record.ts';
import { podNamed } from './request.ts';

const steps = channel('plexus:spool');

export interface AdoptContext {
  readonly directory: SpoolDirectory;
  readonly journal: Journal;
  readonly log: Logger;
}

/** A sandbox that the shim attached to its default network, and that the journal has from now on. */
export interface Adopted {
  readonly attachment: Attachment;
  /** What the runtime sent. */
  readonly config: JsonObject;
  /** `namespace/name`, where the runtime said. */
  readonly pod: string | undefined;
  readonly planned: Plan['attachments'];
  /** As the runtime has it, in the network's version; undefined: the ADD never ended, and what it made is to be released. */
  readonly result: JsonObject | undefined;
}

/**
 * Takes into the journal what the shim attached while there was no daemon, so that DEL, CHECK and GC find it there, and
 * whatever else the pod asks for can be attached. A crash at any moment leaves the record, or the whole entry.
 *
 * @returns `under way` while the shim is still at it; undefined when there was nothing to adopt.
 * @throws {Error} of the disk. The record stays then.
 */
export async function adopt(waiting: Waiting, context: AdoptContext): Promise<Adopted | 'under way' | undefined> {
  const { directory, journal, log } = context;
  const opened = await directory.openLocked(waiting);
  if (opened === 'locked') return 'under way';
  if (opened === undefined) return undefined;
  await using held = opened;
  const { bytes, inode } = held.content;
  let read: Readable;
  try {
    read = readRecord(decodeRecord(bytes, waiting));
  } catch (error) {
    const path = await directory.setAside(waiting);
    const why = toCniError(error).message;
    log.error({ path }, `what the shim attached without a daemon cannot be adopted, and is held: ${why}`);
    return undefined;
  }
  const { plan, result, adopted } = read;
  steps.publish({ at: 'adopt', file: waiting.file });
  await enter(plan, result, journal);
  steps.publish({ at: 'adopted', file: waiting.file });
  await directory.remove(waiting, inode);
  steps.publish({ at: 'removed', file: waiting.file });
  const { containerId, ifName } = plan;
  const told = { containerId, ifName, pod: adopted.pod, network: plan.attachments[0]?.network };
  if (result !== undefined) log.warn(told, 'attached to its default network only, while there was no daemon: adopted');
  else log.warn(told, 'an ADD of the shim, while there was no daemon, never ended: what it made is released');
  return adopted;
}

/**
 * Adopts all that is there, before the journal is asked for ADDs that never ended: one whose adoption was cut off looks
 * like them. What cannot be adopted yet waits.
 */
export async function adoptAll(context: AdoptContext): Promise<Adopted[]> {
  const { waiting } = await context.directory.list();
  const all: Adopted[] = [];
  for (const each of waiting.filter(({ command }) => command === 'ADD')) {
    try {
      const adopted = await adopt(each, context);
      if (adopted !== undefined && adopted !== 'under way') all.push(adopted);
    } catch (error) {
      context.log.error(
        { file: each.file, err: error },
        'what the shim attached without a daemon cannot be adopted now',
      );
    }
  }
  return all;
}

/** Writes what is lacking of the entry: an earlier attempt may have been killed. */
async function enter(plan: Plan, result: JsonObject | undefined, journal: Journal): Promise<void> {
  const [planned] = plan.attachments;
  if (planned === undefined) throw new Error('a plan without a default network');
  const there = await journal.read(plan);
  if (there?.complete) return;
  await using recording = there === undefined ? await journal.begin(plan) : await journal.resume(plan);
  if (result === undefined) return;
  await recording.add({ step: 'added', ifName: planned.ifName, result });
  await recording.add({ step: 'adopted' });
  await recording.add({ step: 'complete' });
}

interface Readable {
  readonly plan: Plan;
  readonly result: JsonObject | undefined;
  readonly adopted: Adopted;
}

/** @throws {CniError} when the request or the network's configuration makes no sense. */
function readRecord({ request, network, result: printed }: AddRecord): Readable {
  const invocation = readInvocation(request.env);
  if (invocation.command !== 'ADD') throw new Error(`expected an ADD, found ${invocation.command}`);
  const { attachment } = invocation;
  const { containerId, ifName, netns, args } = attachment;
  const config = parseJson(request.stdin, 'the CNI configuration of Plexus');
  if (!isJsonObject(config)) throw new Error('the CNI configuration of Plexus: expected a JSON object');
  const { runtimeConfig } = config;
  const planned = {
    network: '',
    ifName,
    isDefault: true,
    ...network,
    runtimeConfig: isJsonObject(runtimeConfig) ? runtimeConfig : {},
    cniArgs: {},
  };
  const { name, cniVersion } = plannedList(planned);
  const result = printed === undefined ? undefined : resultForJournal(printed, cniVersion);
  const plan: Plan = {
    version: 1,
    containerId,
    ifName,
    netns,
    args: formatArgs(args),
    attachments: [{ ...planned, network: name }],
    plannedAt: Date.now(),
  };
  const pod = podNamed(request);
  return { plan, result, adopted: { attachment, pod, config, planned: plan.attachments, result } };
}
