import { networksOf } from '../../attach/pod-networks.ts';
import type { Key } from '../../journal/journal.ts';
import { isOlder } from '../../kubernetes/pods.ts';
import type { Pod } from '../../kubernetes/schemas.ts';
import type { Identity } from './identity.ts';

/** Milliseconds before each further attempt at what failed; the last one is for all that follow. */
export const defaultWaits: readonly number[] = [1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

/** Calls a function later. @returns What takes that back. */
export type Schedule = (milliseconds: number, call: () => void) => () => void;

export const schedule: Schedule = (milliseconds, call) => {
  const timer = setTimeout(call, milliseconds).unref();
  return () => clearTimeout(timer);
};

/** The sandbox of a running pod, and how far its networks are from what its annotation asks for. */
export class Followed {
  readonly key: Key;
  readonly identity: Identity;
  /** Whether the network-status is to be looked at, though nothing is attached or detached. */
  statusDue = false;
  /** Networks that could not be attached or detached. */
  failed: readonly string[] = [];
  /** The pod as it was last considered. */
  #seen: Pod | undefined;
  readonly #told = new Set<string>();
  #attempts = 0;
  #unschedule: (() => void) | undefined;

  /** @param seen The pod as it was when all that it asked for was attached; undefined where that is not known. */
  constructor(key: Key, identity: Identity, seen: Pod | undefined) {
    this.key = key;
    this.identity = identity;
    this.#seen = seen;
  }

  get pod(): Pod | undefined {
    return this.#seen;
  }

  /**
   * Takes note of the pod as somebody has seen it.
   *
   * @returns Whether it asks for other networks than when it was seen before.
   */
  sees(pod: Pod): boolean {
    const before = this.#seen;
    if (!this.identity.isThis(pod) || (before !== undefined && isOlder(pod, before))) return false;
    this.#seen = pod;
    if (before !== undefined && networksOf(before) === networksOf(pod)) return false;
    this.settled();
    return true;
  }

  /** Whether a problem has not been told yet. */
  isNews(problem: string): boolean {
    if (this.#told.has(problem)) return false;
    this.#told.add(problem);
    return true;
  }

  /** Nothing failed, or what failed is not asked for any more: what fails next is told, and tried again soon. */
  settled(): void {
    this.stop();
    this.#told.clear();
    this.#attempts = 0;
    this.failed = [];
  }

  /** Calls a function after the wait that is due. */
  later(waits: readonly number[], schedule: Schedule, call: () => void): void {
    this.stop();
    const wait = waits[Math.min(this.#attempts, waits.length - 1)] ?? 0;
    this.#attempts++;
    this.#unschedule = schedule(wait, call);
  }

  stop(): void {
    this.#unschedule?.();
    this.#unschedule = undefined;
  }
}
