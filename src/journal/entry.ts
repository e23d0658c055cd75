import { z } from 'zod';
import type { JsonObject } from '../cni/json.ts';

/** JSON objects of a journal were written by this program, so only their outer shape is checked. */
const jsonObject = z.custom<JsonObject>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);

const plannedAttachment = z.strictObject({
  /** `namespace/name` of a NetworkAttachmentDefinition, or the name of the default network's configuration. */
  network: z.string(),
  ifName: z.string(),
  isDefault: z.boolean(),
  /** The configuration as it was read, to the byte: DEL uses what ADD used, whatever became of it since. */
  config: z.string(),
  /** The network's name where its configuration has none. */
  defaultName: z.string(),
  /** Where `config` was read, for error messages. */
  source: z.string(),
  runtimeConfig: jsonObject,
  /** Merged into `args.cni` of every plugin of the chain. */
  cniArgs: jsonObject,
});

const plan = z.strictObject({
  version: z.literal(1),
  containerId: z.string(),
  /** The runtime's CNI_IFNAME: one sandbox can be attached more than once by its runtime. */
  ifName: z.string(),
  netns: z.string(),
  /** The runtime's CNI_ARGS. */
  args: z.string(),
  pod: z.strictObject({ namespace: z.string(), name: z.string(), uid: z.string() }).optional(),
  /** In the order of ADD. */
  attachments: z.array(plannedAttachment).readonly(),
  /** Milliseconds since the epoch. */
  plannedAt: z.number(),
});

const step = z.discriminatedUnion('step', [
  z.strictObject({ step: z.literal('added'), ifName: z.string(), result: jsonObject }),
  z.strictObject({ step: z.literal('deleted'), ifName: z.string() }),
  z.strictObject({ step: z.literal('complete') }),
]);

export type PlannedAttachment = Readonly<z.infer<typeof plannedAttachment>>;
export type Plan = Readonly<z.infer<typeof plan>>;
export type Step = Readonly<z.infer<typeof step>>;

/** What is known of one sandbox: what was wanted, and how far it got. */
export interface Entry {
  readonly plan: Plan;
  /** Final result of each attachment that was made, by its interface name. */
  readonly results: ReadonlyMap<string, JsonObject>;
  /** Interface names of the attachments that were released. */
  readonly deleted: ReadonlySet<string>;
  /** Whether the ADD was answered with success. */
  readonly complete: boolean;
}

/**
 * Reads an entry: the plan on the first line, a step on each that follows. A last line without its newline was being
 * written when the machine or the process died, and is passed over: what it told can be done again.
 *
 * @throws {Error} naming the first whole line that is not what this program writes, and what was expected in it.
 */
export function decodeEntry(text: string): Entry {
  const [first, ...rest] = text.split('\n').slice(0, -1);
  if (first === undefined) throw new Error('the plan is missing');
  const results = new Map<string, JsonObject>();
  const deleted = new Set<string>();
  let complete = false;
  const planned = decodeLine(plan, first, 1);
  for (const [i, line] of rest.entries()) {
    const done = decodeLine(step, line, i + 2);
    if (done.step === 'added') results.set(done.ifName, done.result);
    else if (done.step === 'deleted') deleted.add(done.ifName);
    else complete = true;
  }
  return { plan: planned, results, deleted, complete };
}

function decodeLine<T>(schema: z.ZodType<T>, line: string, number: number): T {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Error(`line ${number} is no JSON`, { cause: error });
  }
  const { data, error } = schema.safeParse(value);
  if (data !== undefined) return data;
  const [issue] = error?.issues ?? [];
  throw new Error(`line ${number}: ${[issue?.path.join('.'), issue?.message].filter(Boolean).join(': ')}`, {
    cause: error,
  });
}

export const encodeLine = (value: Plan | Step): string => `${JSON.stringify(value)}\n`;
