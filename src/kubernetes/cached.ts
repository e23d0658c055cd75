import type { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import { Backoff } from './backoff.ts';
import { type Client, segment } from './client.ts';
import { isNotFound, messageOf } from './error.ts';
import type { Log } from './log.ts';
import { retry } from './retry.ts';
import { metadataForm, Reflector, type Watched, type WatchTimings } from './watch.ts';

export interface CachedOptions<T extends Watched> {
  readonly client: Client;
  readonly log: Log;
  /** How messages call one object, such as `pod`. */
  readonly kind: string;
  /** Where the API group is, such as /api/v1. */
  readonly root: string;
  /** The resource's name in paths, such as `pods`. */
  readonly plural: string;
  readonly fieldSelector?: string;
  readonly metadataOnly?: boolean;
  readonly schema: z.ZodType<T>;
  readonly timings?: Partial<WatchTimings>;
}

/** Objects of one kind: a copy that a watch keeps, and the server for what the copy does not have. */
export class Cached<T extends Watched> implements AsyncDisposable {
  readonly watch: Reflector<T>;
  readonly #options: CachedOptions<T>;
  readonly #stop = new AbortController();

  constructor(options: CachedOptions<T>) {
    this.#options = options;
    this.watch = new Reflector({ ...options, path: `${options.root}/${options.plural}` });
  }

  /**
   * One object: from the copy while that is up to date and has what is wanted; else as {@link fetch} has it.
   *
   * @param isWanted Whether this is the very object, should the copy have an older one of the same name.
   */
  async get(namespace: string, name: string, isWanted: (object: T) => boolean = () => true): Promise<T | undefined> {
    const known = this.watch.get(namespace, name);
    if (known !== undefined && this.watch.live && isWanted(known)) return known;
    return this.fetch(namespace, name, isWanted);
  }

  /** One object, or that there is none, from the copy while that is up to date; else as {@link fetch} has it. */
  async look(namespace: string, name: string): Promise<T | undefined> {
    if (this.watch.live) return this.watch.get(namespace, name);
    return this.fetch(namespace, name, () => true);
  }

  /**
   * One object from the server; while that cannot be reached, from the copy as it was, rather than not at all.
   *
   * @returns undefined when there is none of that name.
   * @throws {CniError} 11 when it cannot be known now.
   */
  async fetch(namespace: string, name: string, isWanted: (object: T) => boolean): Promise<T | undefined> {
    const { kind, log } = this.#options;
    try {
      return await this.#request(namespace, name);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      const message = messageOf(error);
      const known = this.watch.get(namespace, name);
      if (known !== undefined && isWanted(known)) {
        log.warn({ [kind]: `${namespace}/${name}`, error: message }, `using the ${kind} as it was last seen`);
        return known;
      }
      const wanted = `cannot read ${kind} ${namespace}/${name} from the Kubernetes API`;
      throw new CniError(ErrorCode.TryAgainLater, wanted, message, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.watch.close();
  }

  async #request(namespace: string, name: string): Promise<T> {
    const { client, kind, root, plural, metadataOnly, schema } = this.#options;
    const path = `${root}/namespaces/${segment('namespace', namespace)}/${plural}/${segment(kind, name)}`;
    const { signal } = this.#stop;
    const backoff = new Backoff(100, 1_000);
    const accept = metadataOnly ? { accept: metadataForm('PartialObjectMetadata') } : {};
    const request = () => client.request({ path, ...accept, timeout: 5_000, signal });
    return schema.parse(await retry(request, { attempts: 3, backoff, signal }));
  }
}
