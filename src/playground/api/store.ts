import { randomUUID } from 'node:crypto';
import { isJsonObject, type JsonValue } from '../../cni/json.ts';
import { Failure } from './failure.ts';
import { at, equalJson, type KubernetesObject, type StoredMetadata, type StoredObject, textAt } from './object.ts';
import { isName, namespaces, qualifiedName, type Resource, resourceOf } from './resources.ts';
import { invalid, requireValid } from './validate.ts';

/** One change, as a watch reports it. `before` tells a selecting watch what its reader had. */
export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  readonly resource: Resource;
  readonly object: StoredObject;
  readonly before: StoredObject | undefined;
}

/** What may be asked of an object before it is changed: meta/v1 Preconditions. */
export interface Preconditions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

export interface StoreOptions {
  /** Changes kept for watches that come back; older ones are forgotten. */
  readonly history?: number;
}

/**
 * The objects of a small cluster, in memory. One version number for all, rising with every change, as etcd's revision.
 * What is refused, is refused as by a real API server, with the same reason.
 */
export class Store {
  readonly #objects = new Map<Resource, Map<string, StoredObject>>();
  readonly #listeners = new Set<(change: Change) => void>();
  readonly #maxHistory: number;
  #history: Change[] = [];
  #version = 1;
  /** The newest version whose changes are no longer known. */
  #forgotten = 1;

  constructor({ history = 1_024 }: StoreOptions = {}) {
    this.#maxHistory = history;
  }

  get version(): number {
    return this.#version;
  }

  /** @throws {Failure} NotFound */
  get(resource: Resource, namespace: string | undefined, name: string): StoredObject {
    const found = this.find(resource, namespace, name);
    if (found === undefined) throw notFound(resource, name);
    return found;
  }

  find(resource: Resource, namespace: string | undefined, name: string): StoredObject | undefined {
    return this.#of(resource).get(keyOf(resource, namespace, name));
  }

  /**
   * In the order of namespace and name, as etcd lists its keys.
   *
   * @param version As they were then; as they are unless told.
   * @throws {Failure} see {@link changesSince}.
   */
  list(resource: Resource, namespace?: string, version = this.#version): StoredObject[] {
    const objects = new Map(this.#of(resource));
    for (const change of this.changesSince(version).toReversed()) {
      if (change.resource !== resource) continue;
      const { metadata } = change.object;
      const key = keyOf(resource, metadata.namespace, metadata.name);
      if (change.before === undefined) objects.delete(key);
      else objects.set(key, change.before);
    }
    return [...objects.entries()]
      .filter(([, object]) => namespace === undefined || object.metadata.namespace === namespace)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
  }

  /**
   * Adds an object: its resource by its apiVersion and kind, in the namespace it names, else in `default`.
   *
   * @throws {Failure} Invalid, AlreadyExists, NotFound (of the namespace), BadRequest (of a kind that is not served).
   */
  create(object: KubernetesObject): StoredObject {
    const resource = requireResource(object);
    const namespace = resource.namespaced ? (object.metadata.namespace ?? 'default') : undefined;
    const name = object.metadata.name || generatedName(object.metadata.generateName);
    requireName(resource, name);
    if (namespace !== undefined) {
      const home = this.find(namespaces, undefined, namespace);
      if (home === undefined) throw notFound(namespaces, namespace);
    }
    if (this.find(resource, namespace, name) !== undefined) {
      throw new Failure(
        'AlreadyExists',
        `${qualifiedName(resource)} "${name}" already exists`,
        detailsOf(resource, name),
      );
    }
    const version = this.#version + 1;
    const metadata: StoredMetadata = {
      ...object.metadata,
      name,
      uid: randomUUID(),
      resourceVersion: String(version),
      creationTimestamp: `${new Date().toISOString().slice(0, 19)}Z`,
      namespace,
    };
    const stored = withDefaults(resource, { ...object, metadata });
    requireValid(resource, stored);
    this.#version = version;
    this.#put({ type: 'ADDED', version, resource, object: stored, before: undefined });
    return stored;
  }

  /**
   * Replaces an object, or with `part` 'status' its status (and, as the API server does for pods, metadata: that is how
   * network-status is written), without 'status' all but its status; with 'approval' its conditions alone.
   *
   * @throws {Failure} NotFound, Conflict when it is not the version or UID that the new object was made from.
   */
  update(object: KubernetesObject, part: 'object' | 'status' | 'approval' = 'object'): StoredObject {
    const resource = requireResource(object);
    const { name, namespace, uid, resourceVersion } = object.metadata;
    const before = this.get(resource, namespace, name);
    requirePreconditions(resource, before, { uid, resourceVersion });
    const version = this.#version + 1;
    const metadata: StoredMetadata = {
      ...object.metadata,
      uid: before.metadata.uid,
      creationTimestamp: before.metadata.creationTimestamp,
      resourceVersion: String(version),
    };
    const base = part === 'object' ? object : before;
    const status = statusOf(resource, before, object, part);
    const next: StoredObject = { ...base, apiVersion: before.apiVersion, kind: before.kind, metadata, status };
    // As the API server: a write that changes nothing makes no new version and wakes nobody.
    const unchanged = { ...next, metadata: { ...metadata, resourceVersion: before.metadata.resourceVersion } };
    if (equalJson(unchanged, before)) return before;
    requireValid(resource, next);
    this.#version = version;
    this.#put({ type: 'MODIFIED', version, resource, object: next, before });
    return next;
  }

  /** @throws {Failure} NotFound, Conflict. */
  delete(resource: Resource, namespace: string | undefined, name: string, when: Preconditions = {}): StoredObject {
    const before = this.get(resource, namespace, name);
    requirePreconditions(resource, before, when);
    // What is in a namespace goes with it.
    if (resource === namespaces) {
      for (const inside of [...this.#objects.keys()].filter((kind) => kind.namespaced)) {
        for (const { metadata } of this.list(inside, name)) this.delete(inside, name, metadata.name);
      }
    }
    const version = ++this.#version;
    const object: StoredObject = { ...before, metadata: { ...before.metadata, resourceVersion: String(version) } };
    this.#put({ type: 'DELETED', version, resource, object, before });
    return object;
  }

  /**
   * The changes after a version.
   *
   * @throws {Failure} Expired (410) when they are no longer all known; Timeout when the version is still to come.
   */
  changesSince(version: number): readonly Change[] {
    this.requireReached(version);
    if (version < this.#forgotten)
      throw new Failure('Expired', `too old resource version: ${version} (${this.#forgotten})`);
    return this.#history.filter((change) => change.version > version);
  }

  /** @throws {Failure} Timeout when the version is still to come. */
  requireReached(version: number): void {
    if (version <= this.#version) return;
    const message = `Timeout: Too large resource version: ${version}, current: ${this.#version}`;
    const causes = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }];
    throw new Failure('Timeout', message, { causes, retryAfterSeconds: 1 });
  }

  /** Calls back for each change from now on, until the returned function is called. */
  listen(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets all changes so far, as compaction does: who comes back with an older version is told 410 Gone. */
  forgetHistory(): void {
    this.#history = [];
    this.#forgotten = this.#version;
  }

  #of(resource: Resource): Map<string, StoredObject> {
    let objects = this.#objects.get(resource);
    if (objects === undefined) {
      objects = new Map();
      this.#objects.set(resource, objects);
    }
    return objects;
  }

  #put(change: Change): void {
    const { resource, object, type } = change;
    const key = keyOf(resource, object.metadata.namespace, object.metadata.name);
    if (type === 'DELETED') this.#of(resource).delete(key);
    else this.#of(resource).set(key, object);
    this.#history.push(change);
    const oldest = this.#history.length > this.#maxHistory ? this.#history.shift() : undefined;
    if (oldest !== undefined) this.#forgotten = oldest.version;
    for (const listener of this.#listeners) listener(change);
  }
}

/** The status after an update: only who writes to it changes it. */
function statusOf(
  { status }: Resource,
  before: KubernetesObject,
  { status: next }: KubernetesObject,
  part: 'object' | 'status' | 'approval',
): JsonValue | undefined {
  if (part === 'status' || !status) return next;
  if (part === 'object') return before['status'];
  const former = isJsonObject(before['status']) ? before['status'] : {};
  return { ...former, conditions: at(next, 'conditions') ?? [] };
}

function keyOf(resource: Resource, namespace: string | undefined, name: string): string {
  return resource.namespaced ? `${namespace ?? 'default'}/${name}` : name;
}

function detailsOf(resource: Resource, name: string) {
  return { name, group: resource.group, kind: resource.plural };
}

export function notFound(resource: Resource, name: string): Failure {
  return new Failure('NotFound', `${qualifiedName(resource)} "${name}" not found`, detailsOf(resource, name));
}

function requireResource(object: KubernetesObject): Resource {
  const resource = resourceOf(object);
  if (resource !== undefined) return resource;
  throw new Failure('BadRequest', `no kind "${object.kind}" of "${object.apiVersion}" is served here`);
}

function requireName(resource: Resource, name: string): void {
  if (isName(name)) return;
  throw invalid(resource, name, 'metadata.name', `Invalid value: "${name}": expected a lowercase DNS subdomain`);
}

function generatedName(prefix: string | undefined): string {
  return prefix === undefined ? '' : prefix + randomUUID().slice(0, 5);
}

function requirePreconditions(resource: Resource, before: StoredObject, when: Preconditions): void {
  const { name, uid, resourceVersion } = before.metadata;
  const conflict = (why: string): Failure =>
    new Failure(
      'Conflict',
      `Operation cannot be fulfilled on ${qualifiedName(resource)} "${name}": ${why}`,
      detailsOf(resource, name),
    );
  if (when.uid !== undefined && when.uid !== uid) {
    throw conflict(`the UID in the precondition (${when.uid}) does not match the UID in record (${uid})`);
  }
  if (when.resourceVersion !== undefined && when.resourceVersion !== resourceVersion) {
    throw conflict('the object has been modified; please apply your changes to the latest version and try again');
  }
}

/** What the API server's defaulting adds and readers rely on. */
function withDefaults(resource: Resource, object: StoredObject): StoredObject {
  const status = object['status'];
  if (resource.kind === 'Pod' && textAt(object, 'status.phase') === '') {
    return { ...object, status: { phase: 'Pending', ...(isJsonObject(status) ? status : {}) } };
  }
  if (resource.kind === 'Namespace') {
    return { ...object, spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } };
  }
  return object;
}
