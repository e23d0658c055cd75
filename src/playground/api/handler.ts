import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { isJsonObject, type JsonValue } from '../../cni/json.ts';
import { issuesOf } from '../../kubernetes/issues.ts';
import { eventToCore, eventToV1 } from './events.ts';
import { Failure } from './failure.ts';
import { type KubernetesObject, objectSchema, type StoredObject } from './object.ts';
import { applyPatch } from './patch.ts';
import { bodyOf, type Target } from './request.ts';
import { events, eventsV1, groupVersion, type Resource } from './resources.ts';
import { fieldSelector, labelSelector, type Selector } from './selectors.ts';
import type { Store } from './store.ts';
import { tableOf } from './table.ts';

/** A request for objects, its path read. */
export interface Call {
  readonly request: IncomingMessage;
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly store: Store;
}

export interface Answer {
  readonly status: number;
  readonly body: JsonValue;
}

/** Answers everything but watches. @throws {Failure} */
export async function answer(call: Call): Promise<Answer> {
  const { request, target, query } = call;
  if (query.has('dryRun')) throw new Failure('BadRequest', 'dryRun is not served here');
  const { name } = target;
  if (name === undefined) {
    if (request.method === 'GET') return { status: 200, body: list(call) };
    if (request.method === 'POST') return create(call);
  } else {
    if (request.method === 'GET') return one(call, readStored(call, name));
    if (request.method === 'PUT') return one(call, await replace(call, name));
    if (request.method === 'PATCH') return one(call, await patch(call, name));
    if (request.method === 'DELETE' && target.subresource === undefined) return one(call, await remove(call, name));
  }
  throw new Failure('MethodNotAllowed', `the server does not allow ${request.method} on ${request.url}`);
}

/** Which objects a list or a watch asks for. @throws {Failure} BadRequest. */
export function selectorOf({ target, query }: Call): Selector {
  const fields = fieldSelector(query.get('fieldSelector') ?? '', storedAs(target.resource));
  const labels = labelSelector(query.get('labelSelector') ?? '');
  return (object) =>
    (target.namespace === undefined || object.metadata.namespace === target.namespace) &&
    fields(object) &&
    labels(object);
}

/** How an object is written for this request: in the version asked for, and as a table where that is asked for. */
export function presenterOf({ request, target, query }: Call): (object: KubernetesObject) => JsonValue {
  const { resource } = target;
  const convert = (object: KubernetesObject): KubernetesObject =>
    resource === eventsV1 && object.kind === 'Event' ? eventToV1(object) : object;
  if (!wantsTable(request)) return convert;
  const include = query.get('includeObject') ?? 'Metadata';
  return (object) =>
    tableOf(resource, [convert(object)], { resourceVersion: object.metadata.resourceVersion ?? '' }, include);
}

/** Both forms of events are one and the same in the store. */
export function storedAs(resource: Resource): Resource {
  return resource === eventsV1 ? events : resource;
}

function wantsTable(request: IncomingMessage): boolean {
  const first = request.headers.accept?.split(',')[0] ?? '';
  return first.includes('as=Table');
}

function one(call: Call, object: KubernetesObject, status = 200): Answer {
  return { status, body: presenterOf(call)(object) };
}

function readStored({ store, target }: Call, name: string): StoredObject {
  return store.get(storedAs(target.resource), target.namespace, name);
}

const continueSchema = z.object({ version: z.number().int(), after: z.string() });

function list(call: Call): JsonValue {
  const { store, target, query, request } = call;
  const { resource } = target;
  const selector = selectorOf(call);
  const limit = Number(query.get('limit') ?? 0) || Number.POSITIVE_INFINITY;
  const token = query.get('continue');
  const from = token === null ? { version: store.version, after: '' } : continued(token);
  // Refuses a page of a list whose version is forgotten, or a version that is still to come.
  if (token !== null) store.changesSince(from.version);
  const wanted = query.get('resourceVersion');
  if (wanted) store.changesSince(Math.max(store.version, versionOf(wanted)));

  const position = ({ metadata }: StoredObject): string => `${metadata.namespace ?? ''}/${metadata.name}`;
  const rest = store
    .list(storedAs(resource), target.namespace)
    .filter((object) => selector(object) && (from.after === '' || position(object) > from.after));
  const page = rest.slice(0, limit);
  const last = page.at(-1);
  const more = last !== undefined && rest.length > page.length;
  const metadata = {
    resourceVersion: String(from.version),
    ...(more ? { continue: tokenOf({ version: from.version, after: position(last) }) } : {}),
    ...(more ? { remainingItemCount: rest.length - page.length } : {}),
  };
  const items = resource === eventsV1 ? page.map(eventToV1) : page;
  if (wantsTable(request)) return tableOf(resource, items, metadata, query.get('includeObject') ?? 'Metadata');
  return { kind: `${resource.kind}List`, apiVersion: groupVersion(resource), metadata, items };
}

function tokenOf(position: z.infer<typeof continueSchema>): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

function continued(token: string): z.infer<typeof continueSchema> {
  try {
    return continueSchema.parse(JSON.parse(Buffer.from(token, 'base64url').toString()));
  } catch {
    throw new Failure('BadRequest', 'continue key is not valid');
  }
}

/** @throws {Failure} BadRequest. */
export function versionOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new Failure('BadRequest', `resourceVersion: Invalid value: "${text}": expected a number`);
}

async function create(call: Call): Promise<Answer> {
  const object = readObject(call, await bodyOf(call.request));
  return one(call, call.store.create(object), 201);
}

async function replace(call: Call, name: string): Promise<KubernetesObject> {
  const object = readObject(call, await bodyOf(call.request), name);
  return call.store.update(object, call.target.subresource ?? 'object');
}

async function patch(call: Call, name: string): Promise<KubernetesObject> {
  const { request, store, target } = call;
  const change = await bodyOf(request);
  const before = store.get(storedAs(target.resource), target.namespace, name);
  const after = readObject(call, applyPatch(request.headers['content-type'] ?? '', before, change), name);
  // A patch need not name a version: then it applies to whatever there is. It may name a UID: then only to that object.
  return store.update(after, target.subresource ?? 'object');
}

const deleteOptionsSchema = z.object({
  preconditions: z.object({ uid: z.string().optional(), resourceVersion: z.string().optional() }).nullish(),
});

/** Deletes at once: there is no kubelet that would end containers first. */
async function remove({ request, store, target }: Call, name: string): Promise<KubernetesObject> {
  const options = deleteOptionsSchema.safeParse(await bodyOf(request));
  if (!options.success) throw new Failure('BadRequest', `not a DeleteOptions: ${issuesOf(options.error)}`);
  return store.delete(storedAs(target.resource), target.namespace, name, options.data.preconditions ?? {});
}

/** The object of a body: of the kind that the path says, in the namespace and of the name that it says. */
function readObject({ target }: Call, body: JsonValue, name?: string): KubernetesObject {
  const { resource, namespace } = target;
  const parsed = objectSchema.safeParse(isJsonObject(body) ? { metadata: {}, ...body } : body);
  if (!parsed.success) throw new Failure('BadRequest', `not an object of Kubernetes: ${issuesOf(parsed.error)}`);
  const object = resource === eventsV1 ? eventToCore(parsed.data) : parsed.data;
  const { kind } = resource;
  const apiVersion = groupVersion(storedAs(resource));
  if (object.kind !== kind || object.apiVersion !== apiVersion) {
    throw new Failure('BadRequest', `expected ${apiVersion} ${kind}, got ${object.apiVersion} ${object.kind}`);
  }
  const { metadata } = object;
  if (name !== undefined && metadata.name !== name) {
    throw new Failure('BadRequest', `the name of the object (${metadata.name}) is not the name in the URL (${name})`);
  }
  if (metadata.namespace !== undefined && namespace !== undefined && metadata.namespace !== namespace) {
    throw new Failure(
      'BadRequest',
      `the namespace of the object (${metadata.namespace}) is not the namespace in the URL (${namespace})`,
    );
  }
  return { ...object, metadata: { ...metadata, namespace: namespace ?? metadata.namespace } };
}
