import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { networksAnnotation } from '../../attach/selection.ts';
import { annotatePod, podEvents, readPod, type ToldEvent } from '../../kubernetes/annotate.ts';
import type { Client } from '../../kubernetes/client.ts';
import { ApiError } from '../../kubernetes/error.ts';
import type { Pod } from '../../kubernetes/schemas.ts';
import { type NetworkStatus, networkStatusAnnotation } from '../../kubernetes/status.ts';

/** Milliseconds between two looks at a pod. */
const lookMs = 250;

/** Attempts at changing an annotation that somebody else changes as well. */
const maxAttempts = 5;

/** What of a pod's networks is to be changed, and how it is known that it was. */
export interface Change<T> {
  /** Works out the annotation as it is to be, undefined for none, from the pod as it is. */
  readonly edit: (pod: Pod) => { readonly networks: string | undefined; readonly what: T };
  /** Whether a network-status shows that it was done. */
  readonly isDone: (statuses: readonly NetworkStatus[], what: T) => boolean;
  /** Whether an event is about it, and tells that it was not. */
  readonly isFailure: (event: ToldEvent, what: T) => boolean;
}

export interface ChangeOptions {
  readonly client: Client;
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds that the daemon is waited for; 0 for not at all. */
  readonly timeoutMs: number;
}

export interface Changed<T> {
  readonly what: T;
  /** Whether the daemon has done it. */
  readonly done: boolean;
  readonly statuses: readonly NetworkStatus[];
}

/**
 * Changes what a running pod asks for, as `kubectl annotate` would, and waits until the daemon of its node has followed.
 *
 * @throws {Error} saying what the daemon told the pod when it could not, or that it has not in time.
 */
export async function changePod<T>(change: Change<T>, options: ChangeOptions): Promise<Changed<T>> {
  const { client, timeoutMs } = options;
  const { pod, what, before } = await edited(change, options);
  const deadline = performance.now() + timeoutMs;
  for (let now = pod; ; now = await readPod(client, options.namespace, options.name)) {
    const statuses = statusesOf(now);
    if (change.isDone(statuses, what)) return { what, done: true, statuses };
    const failure = (await podEvents(client, now)).find(
      (event) => isNew(event, before) && change.isFailure(event, what),
    );
    if (failure !== undefined) {
      throw new Error(`${failure.reason}: ${failure.message}; it is tried again for as long as the annotation stays`);
    }
    if (timeoutMs === 0) return { what, done: false, statuses };
    if (performance.now() >= deadline) {
      throw new Error(
        `the annotation is changed, but the network-status of the pod has not followed within ${timeoutMs / 1000} s; ` +
          'see whether the daemon of its node runs, and has attached this pod',
      );
    }
    await sleep(lookMs);
  }
}

async function edited<T>(change: Change<T>, { client, namespace, name }: ChangeOptions) {
  for (let attempt = 1; ; attempt++) {
    const pod = await readPod(client, namespace, name);
    const { networks, what } = change.edit(pod);
    const before = await podEvents(client, pod);
    try {
      return { pod: await annotatePod(client, pod, networksAnnotation, networks), what, before };
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 409) || attempt >= maxAttempts) throw error;
    }
  }
}

function isNew({ uid, count }: ToldEvent, before: readonly ToldEvent[]): boolean {
  return before.every((event) => event.uid !== uid || event.count < count);
}

const statusSchema = z.array(
  z.looseObject({
    name: z.string(),
    interface: z.string().optional(),
    ips: z.array(z.string()).optional(),
    mac: z.string().optional(),
    default: z.literal(true).optional().catch(undefined),
    dns: z.looseObject({}).default({}),
  }),
);

/** The network-status of a pod. @throws {Error} when it is none. */
export function statusesOf({ metadata }: Pod): readonly NetworkStatus[] {
  const text = metadata.annotations[networkStatusAnnotation];
  if (text === undefined) return [];
  try {
    return statusSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`pod ${metadata.namespace}/${metadata.name}: its network-status cannot be read`, { cause: error });
  }
}
