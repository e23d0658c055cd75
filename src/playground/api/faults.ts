import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure, type Reason } from './failure.ts';

/** What is to go wrong with coming requests. The parts can be combined: late, and then a failure. */
export interface Fault {
  /** Which requests; all when absent. */
  readonly match?: (method: string, path: string, headers: IncomingHttpHeaders) => boolean;
  /** How many of them; 1 unless told. */
  readonly times?: number;
  /** Milliseconds to wait first. */
  readonly delay?: number;
  /** Never answer. */
  readonly hang?: true;
  /** Close the connection without an answer. */
  readonly reset?: true;
  /** Answer with this failure. */
  readonly fail?: Reason;
  /** With it, what the client is asked to wait. */
  readonly retryAfterSeconds?: number;
  /** Do what was asked for, and close the connection without an answer. */
  readonly lost?: true;
  /** Answer with this text, which need not be JSON. */
  readonly body?: string;
  /** Called with each request that was met, which waits for what it returns. */
  readonly met?: () => unknown;
}

/** Faults that wait for their request, first come first served. */
export class Faults<F extends Fault = Fault> {
  #waiting: Array<{ readonly fault: F; left: number }> = [];

  add(fault: F): void {
    this.#waiting.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#waiting = [];
  }

  take(method: string, path: string, headers: IncomingHttpHeaders): F | undefined {
    const found = this.#waiting.find(({ fault }) => fault.match?.(method, path, headers) ?? true);
    if (found === undefined) return undefined;
    found.left--;
    if (found.left === 0) this.#waiting = this.#waiting.filter((waiting) => waiting !== found);
    return found.fault;
  }
}

/**
 * Plays a fault's part before the answer.
 *
 * @returns What to do instead of answering, or undefined to go on.
 */
export async function suffer(
  fault: Fault,
  signal: AbortSignal,
): Promise<'reset' | { body: string } | Failure | undefined> {
  await fault.met?.();
  if (fault.delay !== undefined) await sleep(fault.delay, undefined, { signal });
  if (fault.hang) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  if (fault.reset) return 'reset';
  if (fault.body !== undefined) return { body: fault.body };
  if (fault.fail === undefined) return undefined;
  const details = fault.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: fault.retryAfterSeconds };
  return new Failure(fault.fail, 'as the test wants it', details);
}
