import type { z } from 'zod';
import { Backoff } from './backoff.ts';
import type { Client } from './client.ts';
import { ApiError, apiErrorOf, isTransient, messageOf } from './error.ts';
import { issuesOf } from './issues.ts';
import type { Log } from './log.ts';
import { identitySchema, listSchema, watchEventSchema } from './schemas.ts';

/** Milliseconds. Tests shorten them. */
export interface WatchTimings {
  /** A watch is asked to end by itself after this long, and somewhat longer at random. */
  readonly lifetime: number;
  /** API servers send a bookmark each minute; a connection silent for longer than this is taken for half open. */
  readonly silence: number;
  /** For the answer's head, and for each page of a list. */
  readonly answer: number;
  readonly firstRetry: number;
  readonly slowestRetry: number;
}

export const defaultTimings: WatchTimings = {
  lifetime: 300_000,
  silence: 150_000,
  answer: 30_000,
  firstRetry: 500,
  slowestRetry: 30_000,
};

export interface Watched {
  readonly metadata: { readonly namespace: string; readonly name: string };
}

export interface ReflectorOptions<T extends Watched> {
  readonly client: Client;
  /** The collection, such as /api/v1/pods. */
  readonly path: string;
  readonly fieldSelector?: string;
  /** The objects' metadata is all that is wanted: see {@link metadataForm}. */
  readonly metadataOnly?: boolean;
  readonly schema: z.ZodType<T>;
  readonly log: Log;
  readonly timings?: Partial<WatchTimings>;
}

const pageSize = 500;

/**
 * The Accept header for objects or a list of them without spec and status, which for pods are most of what the server would
 * send again with each change (Kubernetes API concepts, "Receiving resources as metadata"). Whole objects do as well.
 */
export function metadataForm(kind: 'PartialObjectMetadata' | 'PartialObjectMetadataList'): string {
  return `application/json;as=${kind};g=meta.k8s.io;v=v1,application/json`;
}

/**
 * After this many watches in a row that were refused, or accepted and then broken off without a word, the version itself
 * is suspected, and everything is listed again. A server that is away altogether is not asked for more once it is back.
 */
const failuresUntilList = 3;

/**
 * Keeps a copy of a collection: list, then watch from the list's version, for ever. (Kubernetes API concepts,
 * "Efficient detection of changes".) A watch that ends goes on where it was; one whose version the server has forgotten
 * (410 Gone) or never had (a server restored from a backup) begins again with a list.
 */
export class Reflector<T extends Watched> implements AsyncDisposable {
  /** Fulfilled by the first complete list. Rejected by {@link close} before that. */
  readonly synced: Promise<void>;
  readonly #options: ReflectorOptions<T>;
  readonly #timings: WatchTimings;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  readonly #synced = Promise.withResolvers<void>();
  readonly #listeners: ((object: T) => void)[] = [];
  #store: Map<string, T> = new Map();
  #listed = false;
  #watching = false;
  #problem: string | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#problem = `watch of ${options.path}: not listed yet`;
    this.#timings = { ...defaultTimings, ...options.timings };
    this.synced = this.#synced.promise;
    // Nobody has to wait for it; a rejection by close() alone is no unhandled one.
    this.synced.catch(() => {});
    this.#done = this.#run();
  }

  get(namespace: string, name: string): T | undefined {
    return this.#store.get(key(namespace, name));
  }

  values(): IterableIterator<T> {
    return this.#store.values();
  }

  /** Calls a function, which must not throw, with each object that is listed, added or changed from now on. */
  listen(listener: (object: T) => void): void {
    this.#listeners.push(listener);
  }

  /** Whether there has been a complete list. Before it, that something is not in the copy says nothing. */
  get listed(): boolean {
    return this.#listed;
  }

  /** Whether the copy follows the server at this very moment. When not, it may be stale. */
  get live(): boolean {
    return this.#watching;
  }

  /** What went wrong last, until it goes well again. For STATUS and /healthz. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#synced.reject(new Error(`watch of ${this.#options.path}: closed`));
    await this.#done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run(): Promise<void> {
    const { log, path } = this.#options;
    const stop = this.#stop.signal;
    const backoff = new Backoff(this.#timings.firstRetry, this.#timings.slowestRetry);
    /** Where to go on; undefined: list first. */
    let version: string | undefined;
    /** `0` is whatever the server has in memory, cheap for it; after a 410 only the newest will do. */
    let listFrom = '0';
    let failures = 0;

    while (!stop.aborted) {
      const began = performance.now();
      let accepted = false;
      let moved = false;
      try {
        version ??= await this.#list(listFrom);
        const versions = this.#watch(version, () => {
          accepted = true;
        });
        for await (const next of versions) {
          version = next;
          moved = true;
          failures = 0;
          backoff.reset();
        }
        // The server ended it, as it was asked to. One that does so at once, again and again, is not to be hammered.
        if (performance.now() - began > this.#timings.slowestRetry) backoff.reset();
        if (!moved) await backoff.wait(stop);
      } catch (error) {
        if (stop.aborted) return;
        this.#problem = messageOf(error);
        if (!isTransient(error) || (accepted && !moved)) failures++;
        if (isVersionRefused(error) || failures >= failuresUntilList) {
          version = undefined;
          listFrom = '';
          failures = 0;
        }
        const again = version === undefined ? 'list' : 'watch';
        log.warn({ watch: path, error: this.#problem, again }, 'watch interrupted');
        await backoff.wait(stop, error instanceof ApiError ? error.retryAfter : undefined).catch(() => {});
      }
    }
  }

  /** Takes a complete list, page by page, then puts it in the store's place at once. */
  async #list(resourceVersion: string): Promise<string> {
    const { client, path, fieldSelector, metadataOnly, log } = this.#options;
    const next = new Map<string, T>();
    let token: string | undefined;
    for (;;) {
      const body = await client.request({
        path,
        query: {
          fieldSelector,
          limit: String(pageSize),
          // A page that continues is of the first page's version.
          ...(token === undefined ? { resourceVersion: resourceVersion || undefined } : { continue: token }),
        },
        ...(metadataOnly && { accept: metadataForm('PartialObjectMetadataList') }),
        timeout: this.#timings.answer,
        signal: this.#stop.signal,
      });
      const page = listSchema.parse(body);
      for (const item of page.items) {
        const object = this.#parse(item);
        if (object !== undefined) next.set(key(object.metadata.namespace, object.metadata.name), object);
      }
      token = page.metadata.continue || undefined;
      if (token !== undefined) continue;
      this.#store = next;
      this.#listed = true;
      this.#problem = undefined;
      this.#synced.resolve();
      for (const object of next.values()) this.#tell(object);
      log.debug({ watch: path, objects: next.size, resourceVersion: page.metadata.resourceVersion }, 'listed');
      return page.metadata.resourceVersion;
    }
  }

  /** Follows the server from a version on, and yields each version that was reached. */
  async *#watch(resourceVersion: string, accepted: () => void): AsyncGenerator<string, void, void> {
    const { client, path, fieldSelector, metadataOnly } = this.#options;
    const lifetime = this.#timings.lifetime * (1 + Math.random() / 2);
    const events = client.stream(
      {
        path,
        query: {
          watch: 'true',
          allowWatchBookmarks: 'true',
          timeoutSeconds: String(Math.ceil(lifetime / 1000)),
          resourceVersion,
          fieldSelector,
        },
        ...(metadataOnly && { accept: metadataForm('PartialObjectMetadata') }),
        signal: this.#stop.signal,
        timeout: this.#timings.answer,
        silence: this.#timings.silence,
        // Our own deadline, for a server that does not keep to the one it was given.
        lifetime: lifetime + this.#timings.answer,
      },
      () => {
        this.#watching = true;
        this.#problem = undefined;
        accepted();
      },
    );
    try {
      for await (const line of events) {
        const event = watchEventSchema.parse(JSON.parse(line));
        if (event.type === 'ERROR') throw apiErrorOf(`watch of ${path}`, 400, event.object);
        const { namespace, name, resourceVersion: version } = identitySchema.parse(event.object).metadata;
        if (event.type === 'DELETED') this.#store.delete(key(namespace, name));
        else if (event.type !== 'BOOKMARK') {
          const object = this.#parse(event.object);
          // What can no longer be read must not be answered in its last readable form.
          if (object === undefined) this.#store.delete(key(namespace, name));
          else {
            this.#store.set(key(namespace, name), object);
            this.#tell(object);
          }
        }
        yield version;
      }
    } finally {
      this.#watching = false;
    }
  }

  #tell(object: T): void {
    for (const listener of this.#listeners) listener(object);
  }

  #parse(item: unknown): T | undefined {
    const parsed = this.#options.schema.safeParse(item);
    if (parsed.success) return parsed.data;
    const object = identitySchema.safeParse(item).data?.metadata;
    const { log, path } = this.#options;
    log.warn({ watch: path, object, error: issuesOf(parsed.error) }, 'object left out: it is not as its type says');
    return undefined;
  }
}

function key(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

/** The version is too old for the server (410), or newer than anything it has. */
function isVersionRefused(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.status === 410 || error.causes.includes('ResourceVersionTooLarge');
}
