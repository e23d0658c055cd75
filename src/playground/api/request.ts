import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { JsonValue } from '../../cni/json.ts';
import { apiPath } from './discovery.ts';
import { Failure } from './failure.ts';
import { type Resource, resources } from './resources.ts';

/** What the path of a request for objects says. */
export interface Target {
  readonly resource: Resource;
  /** Undefined: of all namespaces, or of none. */
  readonly namespace: string | undefined;
  /** Undefined: the collection. */
  readonly name: string | undefined;
  readonly subresource: 'status' | 'approval' | undefined;
}

/**
 * Reads a path such as `/api/v1/namespaces/default/pods/a/status`; undefined where nothing is served. Names of Kubernetes
 * have nothing to escape, so nothing is unescaped.
 */
export function targetOf(path: string): Target | undefined {
  for (const resource of resources) {
    const root = `${apiPath(resource)}/`;
    if (!path.startsWith(root)) continue;
    let parts = path.slice(root.length).split('/');
    let namespace: string | undefined;
    if (resource.namespaced && parts[0] === 'namespaces') {
      namespace = parts[1];
      parts = parts.slice(2);
    }
    const [plural, name, subresource, ...more] = parts;
    if (plural !== resource.plural || more.length > 0 || name === '' || namespace === '') continue;
    if (resource.namespaced && name !== undefined && namespace === undefined) continue;
    if (subresource === undefined) return { resource, namespace, name, subresource };
    if (subresource === 'status' && resource.status) return { resource, namespace, name, subresource };
    if (subresource === 'approval' && resource.approval) return { resource, namespace, name, subresource };
  }
  return undefined;
}

/** As the API server: 3 MiB. */
const maxBody = 3 * 1024 * 1024;

/** @throws {Failure} RequestEntityTooLarge, BadRequest. */
export async function bodyOf(request: IncomingMessage): Promise<JsonValue> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const data of request) {
    const chunk = Buffer.from(data);
    size += chunk.length;
    if (size > maxBody) throw new Failure('RequestEntityTooLarge', `the body is longer than ${maxBody} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  if (text === '') return {};
  try {
    return z.json().parse(JSON.parse(text));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Failure('BadRequest', `the body is not JSON: ${message}`);
  }
}
