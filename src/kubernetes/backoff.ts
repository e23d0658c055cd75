import { setTimeout as sleep } from 'node:timers/promises';

/** Waits that grow twofold up to a limit, with jitter, so that a thousand nodes do not come back in one moment. */
export class Backoff {
  readonly #first: number;
  readonly #limit: number;
  #next: number;

  /** @param first,limit Milliseconds. */
  constructor(first: number, limit: number) {
    this.#first = first;
    this.#limit = limit;
    this.#next = first;
  }

  /**
   * Waits half to all of the current step; where the server asked for more, that, though never beyond the limit: a pod's
   * start may hang on it.
   *
   * @param atLeast Milliseconds.
   * @throws The signal's reason, as an AbortError, when aborted.
   */
  async wait(signal: AbortSignal, atLeast = 0): Promise<void> {
    const step = this.#next;
    this.#next = Math.min(step * 2, this.#limit);
    const own = step / 2 + (Math.random() * step) / 2;
    await sleep(Math.max(Math.min(atLeast, this.#limit), own), undefined, { signal });
  }

  reset(): void {
    this.#next = this.#first;
  }
}
