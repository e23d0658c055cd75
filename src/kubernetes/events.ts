import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from './backoff.ts';
import { type Client, segment } from './client.ts';
import { ApiError, isTransient } from './error.ts';
import type { Log } from './log.ts';
import type { Pod } from './schemas.ts';

/** What a user reads in `kubectl describe pod`. */
export interface PodEvent {
  readonly type: 'Normal' | 'Warning';
  /** One word, such as AddedInterface. */
  readonly reason: string;
  readonly message: string;
}

export interface EventsOptions {
  readonly client: Client;
  readonly log: Log;
  /** Whom users see as the source. */
  readonly component: string;
  readonly nodeName: string;
}

/** Events wait here while the server is away; beyond this many, new ones are dropped. They are hints, not state. */
const maxQueue = 1_000;

/** Nobody reads on, and the newer API for events refuses longer ones. */
const maxMessage = 1_024;

const attempts = 5;

/** Writes events one after the other, in the order they happened, without anyone waiting for it. */
export class Events {
  readonly #options: EventsOptions;
  readonly #queue: EventObject[] = [];
  readonly #stop = new AbortController();
  #draining: Promise<void> | undefined;
  #lastStamp = 0n;
  #dropped = 0;

  constructor(options: EventsOptions) {
    this.#options = options;
  }

  /** Queues an event about a pod. Never throws, never waits. */
  record(pod: Pod, event: PodEvent): void {
    if (this.#stop.signal.aborted || this.#queue.length >= maxQueue) {
      this.#dropped++;
      return;
    }
    this.#queue.push(eventObject(pod, event, this.#options, this.#nextStamp()));
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
    });
  }

  /** Number of events that were not written, since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Waits until each event so far is written or given up.
   *
   * @param limit Milliseconds after which it waits no longer.
   * @returns Whether none is left.
   */
  async flush(limit: number): Promise<boolean> {
    const timer = new AbortController();
    const late = sleep(limit, undefined, { signal: timer.signal }).catch(() => {});
    await Promise.race([this.#draining, late]);
    timer.abort();
    return this.#draining === undefined;
  }

  /** Gives up what is left. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#draining;
  }

  async #drain(): Promise<void> {
    for (let event = this.#queue.shift(); event !== undefined; event = this.#queue.shift()) await this.#write(event);
  }

  async #write(event: EventObject): Promise<void> {
    const { client, log } = this.#options;
    const signal = this.#stop.signal;
    const backoff = new Backoff(200, 5_000);
    for (let attempt = 1; ; attempt++) {
      try {
        const path = `/api/v1/namespaces/${segment('namespace', event.metadata.namespace)}/events`;
        await client.request({ method: 'POST', path, body: event, timeout: 5_000, signal });
        return;
      } catch (error) {
        // An attempt whose answer was lost had been written all the same: names are unique.
        if (error instanceof ApiError && error.reason === 'AlreadyExists') return;
        if (attempt === attempts || signal.aborted || !isTransient(error)) {
          this.#dropped++;
          const message = error instanceof Error ? error.message : String(error);
          log.warn({ event: event.message, reason: event.reason, error: message }, 'event not written');
          return;
        }
        await backoff.wait(signal, error instanceof ApiError ? error.retryAfter : undefined).catch(() => {});
      }
    }
  }

  /** Nanoseconds since 1970, and different each time. */
  #nextStamp(): bigint {
    const now = BigInt(Date.now()) * 1_000_000n;
    this.#lastStamp = now > this.#lastStamp ? now : this.#lastStamp + 1n;
    return this.#lastStamp;
  }
}

type EventObject = ReturnType<typeof eventObject>;

/**
 * A core/v1 Event, named as client-go does, after the pod and the time. Lists are ordered by name, so readers see in which
 * order things happened although the times of events are whole seconds.
 */
function eventObject(
  { metadata }: Pod,
  { type, reason, message }: PodEvent,
  { component, nodeName }: EventsOptions,
  stamp: bigint,
) {
  const time = `${new Date().toISOString().slice(0, 19)}Z`;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: {
      name: `${metadata.name.slice(0, 230).replace(/[-.]+$/, '')}.${stamp.toString(16)}`,
      namespace: metadata.namespace,
    },
    involvedObject: {
      apiVersion: 'v1',
      kind: 'Pod',
      name: metadata.name,
      namespace: metadata.namespace,
      uid: metadata.uid,
      resourceVersion: metadata.resourceVersion,
    },
    type,
    reason,
    message: message.length > maxMessage ? `${message.slice(0, maxMessage - 1)}…` : message,
    source: { component, host: nodeName },
    reportingComponent: component,
    reportingInstance: nodeName,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}
