import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { apiPath } from '../../src/playground/api/discovery.ts';
import { type KubernetesObject, objectSchema, type StoredObject } from '../../src/playground/api/object.ts';
import { groupVersion, namespaces, pods, type Resource, resourceOf } from '../../src/playground/api/resources.ts';
import type { Endpoint } from './kube-apiserver.ts';

/** An answer that is no success. */
export class AdminError extends Error {
  readonly status: number;
  readonly body: string;

  constructor(operation: string, status: number, body: string) {
    super(`${operation}: ${status}: ${body}`);
    this.status = status;
    this.body = body;
  }
}

const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  items: z.array(z.json()).nullish(),
});

/** What an administrator does to the objects of an API server, whichever it is: plain requests, past every fault. */
export class Admin implements Disposable {
  readonly #at: Endpoint;
  readonly #agent: http.Agent;

  constructor(at: Endpoint) {
    this.#at = at;
    this.#agent =
      at.ca === undefined ? new http.Agent({ keepAlive: true }) : new https.Agent({ keepAlive: true, ca: at.ca });
  }

  /** Creates an object in the namespace it names, else in `default`, and that namespace where it is not there. */
  async create(object: KubernetesObject): Promise<StoredObject> {
    const resource = requireResource(object);
    const { namespace = 'default' } = object.metadata;
    try {
      return stored(await this.#ask('POST', pathOf(resource, namespace), object));
    } catch (error) {
      if (!(isStatus(error, 404) && resource.namespaced)) throw error;
      await this.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
      return stored(await this.#ask('POST', pathOf(resource, namespace), object));
    }
  }

  /** @throws {AdminError} 404. */
  async get(resource: Resource, namespace: string, name: string): Promise<StoredObject> {
    return stored(await this.#ask('GET', pathOf(resource, namespace, name)));
  }

  async find(resource: Resource, namespace: string, name: string): Promise<StoredObject | undefined> {
    return this.get(resource, namespace, name).catch((error: unknown) => {
      if (isStatus(error, 404)) return undefined;
      throw error;
    });
  }

  /** Of all namespaces, in the order of namespace and name. */
  async list(resource: Resource): Promise<StoredObject[]> {
    const { items } = listSchema.parse(await this.#ask('GET', `${apiPath(resource)}/${resource.plural}`));
    const { kind } = resource;
    // Of its own kinds, kube-apiserver leaves out in a list what the list says already.
    return (items ?? []).map((item) => stored({ kind, apiVersion: groupVersion(resource), ...objectOf(item) }));
  }

  /** The version that everything has reached. */
  async version(): Promise<string> {
    const list = await this.#ask('GET', `${apiPath(namespaces)}/${namespaces.plural}?limit=1`);
    return listSchema.parse(list).metadata.resourceVersion;
  }

  /** Changes an object by a merge patch. */
  async change(resource: Resource, namespace: string, name: string, patch: object): Promise<StoredObject> {
    return stored(await this.#ask('PATCH', pathOf(resource, namespace, name), patch, 'application/merge-patch+json'));
  }

  /** Puts a pod on a node, as a scheduler does. */
  async bind(namespace: string, name: string, node: string): Promise<void> {
    const target = { apiVersion: 'v1', kind: 'Node', name: node };
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name }, target };
    try {
      await this.#ask('POST', `/api/v1/namespaces/${namespace}/pods/${name}/binding`, binding);
    } catch (error) {
      // The embedded API has no bindings: there, a pod's node is changed as everything else.
      if (!isStatus(error, 404)) throw error;
      await this.change(pods, namespace, name, { spec: { nodeName: node } });
    }
  }

  /** Deletes an object at once, as a kubelet does that has ended a pod's containers. */
  async delete(resource: Resource, namespace: string, name: string): Promise<void> {
    await this.#ask('DELETE', pathOf(resource, namespace, name), { gracePeriodSeconds: 0 });
  }

  /** Asks for anything, past the types. @throws {AdminError} */
  ask(method: string, path: string, body?: object | string, type?: string): Promise<unknown> {
    return this.#ask(method, path, body, type);
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  async #ask(method: string, path: string, body?: object | string, type = 'application/json'): Promise<unknown> {
    const { url, token } = this.#at;
    const sent = typeof body === 'object' ? JSON.stringify(body) : (body ?? '');
    const outgoing = (url.protocol === 'https:' ? https : http).request(new URL(path, url), {
      method,
      agent: this.#agent,
      headers: {
        'content-type': type,
        'content-length': Buffer.byteLength(sent),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
    });
    outgoing.end(sent);
    const [response] = await once(outgoing, 'response');
    const answer = await text(response);
    if (response.statusCode < 300) return JSON.parse(answer);
    throw new AdminError(`${method} ${path}`, response.statusCode, answer);
  }
}

export function isStatus(error: unknown, status: number): boolean {
  return error instanceof AdminError && error.status === status;
}

function pathOf(resource: Resource, namespace: string, name?: string): string {
  const home = resource.namespaced ? `/namespaces/${namespace}` : '';
  return `${apiPath(resource)}${home}/${resource.plural}${name === undefined ? '' : `/${name}`}`;
}

function requireResource(object: KubernetesObject): Resource {
  const resource = resourceOf(object);
  if (resource === undefined) throw new Error(`no resource is known for ${object.apiVersion} ${object.kind}`);
  return resource;
}

function objectOf(value: unknown): object {
  if (typeof value !== 'object' || value === null) throw new Error(`expected an object, found ${String(value)}`);
  return value;
}

function stored(value: unknown): StoredObject {
  const object = objectSchema.parse(value);
  const { uid, resourceVersion, creationTimestamp } = object.metadata;
  if (!(uid && resourceVersion && creationTimestamp)) throw new Error('expected an object that a server has stored');
  return { ...object, metadata: { ...object.metadata, uid, resourceVersion, creationTimestamp } };
}
