import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { isJsonObject, type JsonValue } from '../../cni/json.ts';
import { issuesOf } from '../../kubernetes/issues.ts';
import { admit } from './admission.ts';
import { Failure } from './failure.ts';
import { type KubernetesObject, objectSchema, type StoredObject } from './object.ts';
import { patcherOf } from './patch.ts';
import { type Presentation, presentationFor } from './presentation.ts';
import { bodyOf, type Target } from './request.ts';
import { groupVersion } from './resources.ts';
import { fieldSelector, labelSelector, type Selector } from './selectors.ts';
import type { Store } from './store.ts';
import { invalid } from './validate.ts';

/** A request for objects, its path read. */
export interface Call {
  readonly request: IncomingMessage;
  readonly target: Target;
  readonly query: URLSearchParams;
  readonly store: Store;
  /** Shows whoever made the request something. */
  readonly warn: (text: string) => void;
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
    if (request.method === 'GET') return one(call, call.store.get(target.resource, target.namespace, name));
    if (request.method === 'PUT') return one(call, await replace(call, name));
    if (request.method === 'PATCH') return one(call, await patch(call, name));
    if (request.method === 'DELETE' && target.subresource === undefined) return one(call, await remove(call, name));
  }
  throw new Failure('MethodNotAllowed', `the server does not allow ${request.method} on ${request.url}`);
}

/** Which objects a list or a watch asks for. @throws {Failure} BadRequest. */
export function selectorOf({ target, query }: Call): Selector {
  const fields = fieldSelector(query.get('fieldSelector') ?? '', target.resource);
  const labels = labelSelector(query.get('labelSelector') ?? '');
  return (object) =>
    (target.namespace === undefined || object.metadata.namespace === target.namespace) &&
    fields(object) &&
    labels(object);
}

/** How objects are written for this request. */
export function presentationOf({ request, target, query }: Call): Presentation {
  return presentationFor(request, target.resource, query.get('includeObject') ?? 'Metadata');
}

function one(call: Call, object: KubernetesObject, status = 200): Answer {
  return { status, body: presentationOf(call).one(object) };
}

const continueSchema = z.object({ version: z.number().int(), after: z.string() });

function list(call: Call): JsonValue {
  const { store, target, query } = call;
  const { resource, namespace } = target;
  const selector = selectorOf(call);
  const limit = limitOf(query.get('limit'));
  const { version, after } = startOf(call);
  const position = ({ metadata }: StoredObject): string => `${metadata.namespace ?? ''}/${metadata.name}`;
  const rest = store
    .list(resource, namespace, version)
    .filter((object) => selector(object) && (after === '' || position(object) > after));
  const page = rest.slice(0, limit);
  const last = page.at(-1);
  const left = rest.length - page.length;
  const metadata = {
    resourceVersion: String(version),
    ...(last !== undefined && left > 0
      ? { continue: tokenOf({ version, after: position(last) }), remainingItemCount: left }
      : {}),
  };
  return presentationOf(call).list(page, metadata);
}

/** Of which version a list is to be, and after which object it begins (Kubernetes API concepts, "Resource versions"). */
function startOf({ store, query }: Call): z.infer<typeof continueSchema> {
  const token = query.get('continue');
  if (token) return continued(token);
  const wanted = versionOf(query.get('resourceVersion') || '0');
  store.requireReached(wanted);
  const isExact = query.get('resourceVersionMatch') === 'Exact' && wanted > 0;
  return { version: isExact ? wanted : store.version, after: '' };
}

/** @throws {Failure} BadRequest. */
function limitOf(text: string | null): number {
  if (!/^\d*$/.test(text ?? '')) throw new Failure('BadRequest', `limit: expected a number, found "${text}"`);
  return Number(text) || Number.POSITIVE_INFINITY;
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
  const object = readObject(call, await jsonOf(call.request));
  return one(call, call.store.create(await admitted(call, 'CREATE', object)), 201);
}

/** The object as webhooks leave it. @throws {Failure} when one of them refuses it. */
async function admitted(
  { store, target, warn }: Call,
  operation: 'CREATE' | 'UPDATE',
  object: KubernetesObject,
  oldObject?: KubernetesObject,
): Promise<KubernetesObject> {
  const { resource, namespace, subresource } = target;
  if (subresource !== undefined) return object;
  const { object: final, warnings } = await admit(store, { operation, resource, namespace, object, oldObject });
  for (const text of warnings) warn(text);
  return final;
}

/** What kubectl sends for `create -f` and `apply -f`; for `create namespace` and its like it sends protobuf. */
async function jsonOf(request: IncomingMessage): Promise<JsonValue> {
  const type = request.headers['content-type'] ?? 'application/json';
  if (type.startsWith('application/json')) return bodyOf(request);
  const wanted = 'expected application/json, as kubectl sends with -f';
  throw new Failure('UnsupportedMediaType', `a body of type ${type} is not served; ${wanted}`);
}

async function replace(call: Call, name: string): Promise<KubernetesObject> {
  const object = readObject(call, await jsonOf(call.request), name);
  const { store, target } = call;
  const before = store.find(target.resource, target.namespace, name);
  return store.update(await admitted(call, 'UPDATE', object, before), target.subresource ?? 'object');
}

async function patch(call: Call, name: string): Promise<KubernetesObject> {
  const { request, store, target } = call;
  const { resource, namespace } = target;
  const apply = patcherOf(resource, request.headers['content-type'] ?? '');
  const change = await bodyOf(request);
  const before = store.get(resource, namespace, name);
  const after = readObject(call, apply(before, change), name);
  // A patch need not name a version: then it applies to whatever there is. With a UID, only to that object; of both, the
  // version is looked at first.
  const { uid, resourceVersion } = after.metadata;
  if (uid !== before.metadata.uid && resourceVersion === before.metadata.resourceVersion) {
    throw invalid(resource, name, 'metadata.uid', `Invalid value: "${uid}": field is immutable`);
  }
  const metadata = { ...after.metadata, uid: before.metadata.uid };
  const changed = await admitted(call, 'UPDATE', { ...after, metadata }, before);
  return store.update(changed, target.subresource ?? 'object');
}

const deleteOptionsSchema = z.object({
  preconditions: z.object({ uid: z.string().optional(), resourceVersion: z.string().optional() }).nullish(),
});

/** Deletes at once: there is no kubelet that would end containers first. */
async function remove({ request, store, target }: Call, name: string): Promise<KubernetesObject> {
  const options = deleteOptionsSchema.safeParse(await bodyOf(request));
  if (!options.success) throw new Failure('BadRequest', `not a DeleteOptions: ${issuesOf(options.error)}`);
  return store.delete(target.resource, target.namespace, name, options.data.preconditions ?? {});
}

/** The object of a body: of the kind that the path says, in the namespace and of the name that it says. */
function readObject({ target }: Call, body: JsonValue, name?: string): KubernetesObject {
  const { resource, namespace } = target;
  const parsed = objectSchema.safeParse(isJsonObject(body) ? { metadata: {}, ...body } : body);
  if (!parsed.success) throw new Failure('BadRequest', `not an object of Kubernetes: ${issuesOf(parsed.error)}`);
  const object = parsed.data;
  const { kind } = resource;
  const apiVersion = groupVersion(resource);
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
