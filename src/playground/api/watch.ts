import type { JsonValue } from '../../cni/json.ts';
import type { Failure } from './failure.ts';
import type { KubernetesObject } from './object.ts';
import { groupVersion, type Resource } from './resources.ts';
import type { Selector } from './selectors.ts';
import type { Change, Store } from './store.ts';

export interface WatchRequest {
  readonly store: Store;
  readonly resource: Resource;
  readonly selector: Selector;
  /** Only changes after it, which may be still to come; undefined: what there is now first, as ADDED. */
  readonly since: number | undefined;
  readonly bookmarks: boolean;
  /** Milliseconds. */
  readonly lifetime: number;
  readonly bookmarkEvery: number;
  /** How an object is written. */
  readonly present: (object: KubernetesObject) => JsonValue;
}

/** Where a watch writes its lines. */
export interface Sink {
  write(line: string): void;
  end(): void;
}

/** One client's watch: from a version on, every change that it selects, until its time is over. */
export class Watch {
  readonly #request: WatchRequest;
  readonly #sink: Sink;
  readonly #ends: Array<() => void> = [];
  #frozen = false;
  #closed = false;

  /** @throws {Failure} Expired: see {@link Store.changesSince}. */
  constructor(request: WatchRequest, sink: Sink) {
    this.#request = request;
    this.#sink = sink;
    const { store, since, lifetime, bookmarks, bookmarkEvery } = request;
    if (since === undefined) {
      for (const object of store.list(request.resource)) {
        if (request.selector(object)) this.#send('ADDED', object);
      }
    } else if (since <= store.version) for (const change of store.changesSince(since)) this.#report(change);
    this.#ends.push(store.listen((change) => this.#report(change)));
    if (bookmarks) {
      const timer = setInterval(() => this.#bookmark(), bookmarkEvery);
      this.#ends.push(() => clearInterval(timer));
    }
    const end = setTimeout(() => {
      if (bookmarks) this.#bookmark();
      this.close();
    }, lifetime);
    this.#ends.push(() => clearTimeout(end));
  }

  /** From now on nothing is sent, and the connection stays: as when a cable is pulled. */
  freeze(): void {
    this.#frozen = true;
  }

  /** Tells the client of a failure in the stream, then ends. */
  fail(failure: Failure): void {
    if (this.#closed) return;
    this.#line('ERROR', failure.body);
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const end of this.#ends.splice(0)) end();
    if (!this.#frozen) this.#sink.end();
  }

  /** An object that begins to be selected is added for this client, one that ceases to be is deleted. */
  #report({ type, resource, object, before, version }: Change): void {
    const { selector, since = 0 } = this.#request;
    if (resource !== this.#request.resource || version <= since) return;
    const had = before !== undefined && selector(before);
    const has = type !== 'DELETED' && selector(object);
    if (has) this.#send(had ? 'MODIFIED' : 'ADDED', object);
    else if (had)
      this.#send('DELETED', {
        ...before,
        metadata: { ...before.metadata, resourceVersion: object.metadata.resourceVersion },
      });
  }

  #bookmark(): void {
    const { resource, store, since = 0 } = this.#request;
    if (store.version < since) return;
    const metadata = { resourceVersion: String(store.version) };
    this.#line('BOOKMARK', { kind: resource.kind, apiVersion: groupVersion(resource), metadata });
  }

  #send(type: string, object: KubernetesObject): void {
    this.#line(type, this.#request.present(object));
  }

  #line(type: string, object: JsonValue): void {
    if (!this.#frozen) this.#sink.write(`${JSON.stringify({ type, object })}\n`);
  }
}
