import type { Backoff } from './backoff.ts';
import { ApiError, isTransient } from './error.ts';

export interface Retries {
  /** The first one included. */
  readonly attempts: number;
  readonly backoff: Backoff;
  /** No attempt begins once it is aborted. */
  readonly signal: AbortSignal;
  /** What is worth another attempt besides a server that is away or overloaded. */
  readonly also?: (error: unknown) => boolean;
}

/**
 * Repeats an operation for as long as it fails in a way that time may heal.
 *
 * @throws What the last attempt failed with.
 */
export async function retry<T>(operation: () => Promise<T>, retries: Retries): Promise<T> {
  const { attempts, backoff, signal, also = () => false } = retries;
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation();
    } catch (error) {
      if (attempt >= attempts || !(isTransient(error) || also(error))) throw error;
      await backoff.wait(signal, error instanceof ApiError ? error.retryAfter : undefined).catch(() => {});
      if (signal.aborted) throw error;
    }
  }
}
