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
  /** Whether it is the auxiliary chain, which may well have no interface; absent for a network. */
  isAuxiliary: z.boolean().optional(),
  /** The configuration as it was read, to the byte: DEL uses what ADD used, whatever became of it since. */
  config: z.string(),
  /** The network's name where its configuration has none. */
  defaultName: z.string(),
  /** Where `config` was read, for error messages. */
  source: z.string(),
  runtimeConfig: jsonObject,
  /** Merged into `args.cni` of every plugin of the chain. */
  cniArgs: jsonObject,
  /** The device that it has of its network's resource: `deviceID` and `pciBusID` of every plugin. */
  deviceId: z.string().optional(),
  /** The file in which its plugins find or tell what is to be known of its device. */
  deviceInfoFile: z.string().optional(),
  /** Gateways of the pod's default route, where it wants it on this network; empty for those of the network itself. */
  defaultRoute: z.array(z.string()).readonly().optional(),
  /** The element of the pod's networks annotation that asked for it; absent for what a pod gets without asking there. */
  selection: z
    .looseObject({
      namespace: z.string(),
      name: z.string(),
      interface: z.string().optional(),
      defaultRoute: z.array(z.string()).readonly().optional(),
    })
    .readonly()
    .optional(),
});

/** A default route of a pod, its interface by name: what had that name may be made again with another index. */
const defaultRoute = z.strictObject({
  family: z.union([z.literal(4), z.literal(6)]),
  ifName: z.string(),
  gateway: z.string().optional(),
  source: z.string().optional(),
  priority: z.number().optional(),
  scope: z.number().optional(),
  mtu: z.number().optional(),
  advmss: z.number().optional(),
  onLink: z.boolean().optional(),
  protocol: z.number().optional(),
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
  /** The pod's networks annotation that it carries out; absent where that was not looked at. */
  networks: z.string().optional(),
  /** In the order of ADD. */
  attachments: z.array(plannedAttachment).readonly(),
  /** Milliseconds since the epoch. */
  plannedAt: z.number(),
});

const step = z.discriminatedUnion('step', [
  z.strictObject({ step: z.literal('added'), ifName: z.string(), result: jsonObject }),
  z.strictObject({ step: z.literal('deleted'), ifName: z.string() }),
  /** An attachment is about to be made under another name: an earlier network had taken the one that was planned. */
  z.strictObject({ step: z.literal('renamed'), ifName: z.string(), to: z.string() }),
  z.strictObject({ step: z.literal('complete') }),
  /** The shim made it without a daemon, so that the pod's network-status says nothing of it. */
  z.strictObject({ step: z.literal('adopted') }),
  /** What follows happens while the pod runs. An attachment is about to be made. */
  z.strictObject({ step: z.literal('planned'), attachment: plannedAttachment }),
  /** One is about to be released. */
  z.strictObject({ step: z.literal('detaching'), ifName: z.string() }),
  /** It was released; `held`: it is to stay so although the annotation asks for it. */
  z.strictObject({ step: z.literal('detached'), ifName: z.string(), held: z.literal(true).optional() }),
  /** The annotation has ceased to ask for what is held. */
  z.strictObject({ step: z.literal('unheld'), ifName: z.string() }),
  /** All that this annotation asks for is attached, and nothing else. */
  z.strictObject({ step: z.literal('settled'), networks: z.string() }),
  /** The pod's default routes that are about to be taken away in favour of an attachment. */
  z.strictObject({ step: z.literal('default-route'), ifName: z.string(), taken: z.array(defaultRoute).readonly() }),
]);

export type PlannedAttachment = Readonly<z.infer<typeof plannedAttachment>>;
export type Plan = Readonly<z.infer<typeof plan>>;
export type Step = Readonly<z.infer<typeof step>>;
export type DefaultRoute = Readonly<z.infer<typeof defaultRoute>>;

/** What is known of one sandbox: what was wanted, and how far it got. */
export interface Entry {
  /** Its attachments are those that the ADD planned, less what was detached, and what was attached since. */
  readonly plan: Plan;
  /** Final result of each attachment that was made, by its interface name. */
  readonly results: ReadonlyMap<string, JsonObject>;
  /** Interface names of the attachments that were released. */
  readonly deleted: ReadonlySet<string>;
  /** Whether the ADD made every attachment. */
  readonly complete: boolean;
  /** Interface names of attachments whose release was begun while the pod runs. */
  readonly detaching: ReadonlySet<string>;
  /** Those that were detached and are to stay so, by their interface names. */
  readonly held: ReadonlyMap<string, PlannedAttachment>;
  /** The default routes that were taken away in favour of an attachment, by its interface name. */
  readonly takenRoutes: ReadonlyMap<string, readonly DefaultRoute[]>;
  /** Whether anything was attached or detached since the ADD, or by the shim: the pod's network-status may not have it. */
  readonly changed: boolean;
  /** Whether the shim made it without a daemon: it has the default network alone, unless others were attached since. */
  readonly adopted: boolean;
  /** The networks annotation that was carried out last, all of it; undefined where none was. */
  readonly settled: string | undefined;
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
  const planned = decodeLine(plan, first, 1);
  const state = new State(planned);
  for (const [i, line] of rest.entries()) state.take(decodeLine(step, line, i + 2));
  return state;
}

/** An entry while its steps are read. */
class State implements Entry {
  plan: Plan;
  complete = false;
  changed = false;
  adopted = false;
  settled: string | undefined;
  readonly results = new Map<string, JsonObject>();
  readonly deleted = new Set<string>();
  readonly detaching = new Set<string>();
  readonly held = new Map<string, PlannedAttachment>();
  readonly takenRoutes = new Map<string, readonly DefaultRoute[]>();

  constructor(plan: Plan) {
    this.plan = plan;
    this.settled = plan.networks;
  }

  take(done: Step): void {
    switch (done.step) {
      case 'added':
        this.results.set(done.ifName, done.result);
        break;
      case 'deleted':
        this.deleted.add(done.ifName);
        break;
      case 'renamed':
        this.plan = { ...this.plan, attachments: this.plan.attachments.map((each) => renamed(each, done)) };
        break;
      case 'complete':
        this.complete = true;
        break;
      case 'adopted':
        this.changed = true;
        this.adopted = true;
        break;
      case 'planned':
        this.changed = true;
        this.settled = undefined;
        this.#forget(done.attachment.ifName);
        this.plan = { ...this.plan, attachments: [...this.plan.attachments, done.attachment] };
        break;
      case 'detaching':
        this.settled = undefined;
        this.detaching.add(done.ifName);
        break;
      case 'detached':
        this.changed = true;
        this.#detached(done.ifName, done.held === true);
        break;
      case 'settled':
        this.settled = done.networks;
        break;
      case 'unheld':
        this.held.delete(done.ifName);
        break;
      case 'default-route':
        this.takenRoutes.set(done.ifName, [...(this.takenRoutes.get(done.ifName) ?? []), ...done.taken]);
    }
  }

  #detached(ifName: string, isHeld: boolean): void {
    const attachment = this.plan.attachments.find((each) => each.ifName === ifName);
    this.#forget(ifName);
    if (isHeld && attachment !== undefined) this.held.set(ifName, attachment);
  }

  #forget(ifName: string): void {
    const attachments = this.plan.attachments.filter((each) => each.ifName !== ifName);
    this.plan = { ...this.plan, attachments };
    this.results.delete(ifName);
    this.detaching.delete(ifName);
    this.takenRoutes.delete(ifName);
  }
}

const renamed = (attachment: PlannedAttachment, { ifName, to }: { ifName: string; to: string }): PlannedAttachment =>
  attachment.ifName === ifName ? { ...attachment, ifName: to } : attachment;

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
