/**
 * Runs tasks of one key in the order they came, those of different keys side by side, and some tasks alone.
 * It takes the place of locks: what one sandbox's ADD has begun, its DEL finds finished.
 */
export class KeyedQueue {
  /** The last task of each key. */
  readonly #tails = new Map<string, Promise<unknown>>();
  /** The last exclusive task. Whatever comes after it waits for it. */
  #exclusive: Promise<unknown> = Promise.resolve();

  /** Runs a task after all earlier ones of its key. */
  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = Promise.all([this.#tails.get(key), this.#exclusive]);
    const result = before.then(task);
    this.#remember(key, result);
    return result;
  }

  /** Runs a task after all earlier ones, with no other beside it. */
  alone<T>(task: () => Promise<T>): Promise<T> {
    const result = this.idle().then(task);
    this.#exclusive = result.catch(() => {});
    return result;
  }

  /** Resolves once all tasks that have come so far are done. */
  async idle(): Promise<void> {
    await Promise.all([...this.#tails.values(), this.#exclusive]);
  }

  #remember(key: string, result: Promise<unknown>): void {
    const tail = result
      .catch(() => {})
      .then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      });
    this.#tails.set(key, tail);
  }
}
