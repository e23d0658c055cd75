/** The last task of a key. */
interface Tail {
  readonly done: Promise<unknown>;
  /** Whether it may begin without anything that goes before it but other tasks. */
  admitted: boolean;
}

/**
 * Runs tasks of one key in the order they came, those of different keys side by side, and some tasks alone.
 * It takes the place of locks: what one sandbox's ADD has begun, its DEL finds finished.
 */
export class KeyedQueue {
  readonly #tails = new Map<string, Tail>();
  /** What a task that is to be alone waits for. None of them fails. */
  readonly #admitted = new Set<Promise<unknown>>();
  /** The last exclusive task. Whatever is admitted after it waits for it. */
  #exclusive: Promise<unknown> = Promise.resolve();

  /**
   * Runs a task after all earlier ones of its key.
   *
   * @param first What is to be waited for before that, in the turn of the key. Tasks of other keys, and those that are to
   *   be alone, do not wait for it. Where it fails, so does the task.
   */
  run<T>(key: string, task: () => Promise<T>, first?: () => Promise<void>): Promise<T> {
    const before = this.#tails.get(key);
    if (first === undefined && before?.admitted !== false) {
      const result = Promise.all([before?.done, this.#exclusive]).then(task);
      this.#remember(key, { done: this.#admit(result), admitted: true });
      return result;
    }
    const tail = { done: Promise.resolve<unknown>(undefined), admitted: false };
    const result = this.#runLater(before, task, first, tail);
    tail.done = result.catch(() => {});
    this.#remember(key, tail);
    return result;
  }

  /** Runs a task after all earlier ones, with no other beside it. */
  alone<T>(task: () => Promise<T>): Promise<T> {
    const result = Promise.all([...this.#admitted, this.#exclusive]).then(task);
    this.#exclusive = result.catch(() => {});
    return result;
  }

  /** Resolves once all tasks that have come so far are done. */
  async idle(): Promise<void> {
    await Promise.all([...[...this.#tails.values()].map(({ done }) => done), this.#exclusive]);
  }

  async #runLater<T>(
    before: Tail | undefined,
    task: () => Promise<T>,
    first: (() => Promise<void>) | undefined,
    tail: Tail,
  ): Promise<T> {
    await before?.done;
    await first?.();
    // While it waits for one exclusive task, another may come.
    for (let last: Promise<unknown> | undefined; last !== this.#exclusive; ) {
      last = this.#exclusive;
      await last;
    }
    tail.admitted = true;
    const result = task();
    void this.#admit(result);
    return result;
  }

  /** @returns The same, but for its failure. */
  #admit(result: Promise<unknown>): Promise<unknown> {
    const done = result.then(
      () => {},
      () => {},
    );
    this.#admitted.add(done);
    void done.then(() => this.#admitted.delete(done));
    return done;
  }

  #remember(key: string, tail: Tail): void {
    this.#tails.set(key, tail);
    void tail.done.then(() => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    });
  }
}
