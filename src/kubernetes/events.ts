import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { Backoff } from './backoff.ts';
import { type Client, segment } from './client.ts';
import { ApiError, isNotFound, messageOf } from './error.ts';
import type { Log } from './log.ts';
import { kubeletUid } from './pods.ts';
import { retry } from './retry.ts';
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
  /** Fulfilled once nothing is under way that goes before events: no pod is to start later for those of another. */
  readonly turn?: (() => Promise<void>) | undefined;
  /** Milliseconds that an event waits for its turn at most; a second unless told. */
  readonly patience?: number | undefined;
}

/** Events wait here while the server is away; beyond this many, new ones are dropped. They are hints, not state. */
const maxQueue = 1_000;

/** So many different events are remembered, to be counted when they happen again. */
const maxRemembered = 1_000;

/** Nobody reads on, and the newer API for events refuses longer ones. */
const maxMessage = 1_024;

/**
 * So many events of one pod and reason may differ in their messages alone, as client-go's recorder has it for warnings;
 * what comes on top is counted as one. As many as a pod has networks are no flood.
 */
const maxSimilar = { Normal: 100, Warning: 10 } as const;

/** client-go's words, which people know. */
const combined = '(combined from similar events): ';

/** An event, as often as it happened. */
interface Occurrence {
  event: EventObject;
  /** What it has in common with events that differ in their message alone. */
  readonly similar: string;
  /** The server has it, with an older count perhaps. */
  written: boolean;
  queued: boolean;
  /** When it was queued, in milliseconds of performance.now(). */
  since: number;
}

/**
 * Writes events one after the other, in the order they happened, without anyone waiting for it. One that happens again
 * is not written again but counted, as client-go's recorder does: a pod that fails for an hour has one event, not hundreds.
 */
export class Events {
  readonly #options: EventsOptions;
  readonly #queue: Occurrence[] = [];
  /** By what makes two events the same; the one that happened last is last. */
  readonly #remembered = new Map<string, Occurrence>();
  /** How many of these differ in their message alone. */
  readonly #similar = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #hurry = Promise.withResolvers<void>();
  #draining: Promise<void> | undefined;
  #closed = false;
  #full = false;
  #lastStamp = 0n;

  constructor(options: EventsOptions) {
    this.#options = options;
  }

  /** Queues an event about a pod. Never throws, never waits. */
  record(pod: Pod, event: PodEvent): void {
    const occurrence = this.#occurrenceOf(pod, event);
    if (occurrence.queued || this.#closed) return;
    const isFull = this.#queue.length >= maxQueue;
    if (isFull && !this.#full) this.#options.log.warn({ waiting: maxQueue }, 'events are dropped: too many wait');
    this.#full = isFull;
    if (isFull) return;
    occurrence.queued = true;
    occurrence.since = performance.now();
    this.#queue.push(occurrence);
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined;
    });
  }

  /**
   * Takes no more events, and gives those that wait some time to be written.
   *
   * @param limit Milliseconds. What is left then is given up.
   */
  async close(limit: number): Promise<void> {
    this.#closed = true;
    this.#hurry.resolve();
    const timer = new AbortController();
    const late = sleep(limit, undefined, { signal: timer.signal }).catch(() => {});
    await Promise.race([this.#draining, late]);
    timer.abort();
    this.#stop.abort();
    await this.#draining;
  }

  /** The same event as before with one more to its count, or one that is seen for the first time. */
  #occurrenceOf(pod: Pod, { type, reason, message }: PodEvent): Occurrence {
    const similar = JSON.stringify([pod.metadata.uid, type, reason]);
    const own = similar + message;
    const isOneTooMany = !this.#remembered.has(own) && (this.#similar.get(similar) ?? 0) >= maxSimilar[type];
    const key = isOneTooMany ? similar : own;
    const text = cut(isOneTooMany ? `${combined}${message}` : message);
    const before = this.#remembered.get(key);
    const occurrence = before ?? {
      event: eventObject(pod, { type, reason, message: text }, this.#options, this.#nextStamp()),
      similar,
      written: false,
      queued: false,
      since: 0,
    };
    if (before !== undefined) before.event = again(before.event, text);
    this.#forget(key);
    this.#remembered.set(key, occurrence);
    if (key === own) this.#similar.set(similar, (this.#similar.get(similar) ?? 0) + 1);
    const [oldest] = this.#remembered.keys();
    if (this.#remembered.size > maxRemembered && oldest !== undefined) this.#forget(oldest);
    return occurrence;
  }

  #forget(key: string): void {
    const occurrence = this.#remembered.get(key);
    if (occurrence === undefined) return;
    this.#remembered.delete(key);
    if (key === occurrence.similar) return;
    const left = (this.#similar.get(occurrence.similar) ?? 0) - 1;
    if (left > 0) this.#similar.set(occurrence.similar, left);
    else this.#similar.delete(occurrence.similar);
  }

  async #drain(): Promise<void> {
    const { log } = this.#options;
    // Whoever tells something, such as an ADD that has an answer to give, goes on first.
    await nextTurn();
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      await this.#untilTurn(next);
      next.queued = false;
      const { event } = next;
      try {
        await this.#write(next);
        next.written = true;
      } catch (error) {
        log.warn({ event: event.message, reason: event.reason, error: messageOf(error) }, 'event not written');
      }
      if (this.#stop.signal.aborted && this.#queue.length > 0) {
        log.warn({ events: this.#queue.splice(0).length }, 'events given up');
      }
    }
  }

  async #untilTurn({ since }: Occurrence): Promise<void> {
    const { turn, patience = 1_000 } = this.#options;
    const left = since + patience - performance.now();
    if (turn === undefined || left <= 0) return;
    const timer = new AbortController();
    const late = sleep(left, undefined, { signal: timer.signal }).catch(() => {});
    await Promise.race([turn(), late, this.#hurry.promise]);
    timer.abort();
  }

  async #write({ event, written }: Occurrence): Promise<void> {
    if (!written || !(await this.#update(event))) await this.#create(event);
  }

  async #create(event: EventObject): Promise<void> {
    try {
      await this.#send({ method: 'POST', path: pathOf(event), body: event });
    } catch (error) {
      // An attempt whose answer was lost had been written all the same: names are unique.
      if (!(error instanceof ApiError && error.reason === 'AlreadyExists')) throw error;
    }
  }

  /** @returns False where the server has dropped the event meanwhile: it keeps them for an hour. */
  async #update({ metadata, count, lastTimestamp, message }: EventObject): Promise<boolean> {
    const path = `${pathOf({ metadata })}/${metadata.name}`;
    const contentType = 'application/merge-patch+json';
    try {
      await this.#send({ method: 'PATCH', path, contentType, body: { count, lastTimestamp, message } });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  #send(request: Parameters<Client['request']>[0]): Promise<unknown> {
    const { signal } = this.#stop;
    const backoff = new Backoff(200, 10_000);
    const send = () => this.#options.client.request({ ...request, timeout: 5_000, signal });
    return retry(send, { attempts: 10, backoff, signal });
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
  pod: Pod,
  { type, reason, message }: PodEvent,
  { component, nodeName }: EventsOptions,
  stamp: bigint,
) {
  const { namespace, name, resourceVersion } = pod.metadata;
  const time = wholeSeconds();
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: {
      name: `${name.slice(0, 230).replace(/[-.]+$/, '')}.${stamp.toString(16)}`,
      namespace,
    },
    // kubectl looks for a static pod's events by the UID that the kubelet knows it by.
    involvedObject: { apiVersion: 'v1', kind: 'Pod', name, namespace, uid: kubeletUid(pod), resourceVersion },
    type,
    reason,
    message,
    source: { component, host: nodeName },
    reportingComponent: component,
    reportingInstance: nodeName,
    firstTimestamp: time,
    lastTimestamp: time,
    count: 1,
  };
}

function again(event: EventObject, message: string): EventObject {
  return { ...event, message, count: event.count + 1, lastTimestamp: wholeSeconds() };
}

const cut = (message: string): string =>
  message.length > maxMessage ? `${message.slice(0, maxMessage - 1)}…` : message;

/** The time as meta/v1 Time has it. */
function wholeSeconds(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

function pathOf({ metadata }: Pick<EventObject, 'metadata'>): string {
  return `/api/v1/namespaces/${segment('namespace', metadata.namespace)}/events`;
}
