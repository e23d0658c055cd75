import { admit } from './api/admission.ts';
import type { KubernetesObject, StoredObject } from './api/object.ts';
import { namespaces, pods, resourceOf } from './api/resources.ts';
import type { Store } from './api/store.ts';

/**
 * Makes objects, networks before the pods that ask for them, in whatever order they were given. Namespaces that they are
 * in and that nobody made are made first. Webhooks are asked, where there are any.
 *
 * @returns What was made, in its order.
 * @throws {Failure} as the API refuses.
 */
export async function applyObjects(store: Store, objects: readonly KubernetesObject[]): Promise<StoredObject[]> {
  const rank = (object: KubernetesObject): number =>
    object.kind === 'Namespace' ? 0 : resourceOf(object) === pods ? 2 : 1;
  const made: StoredObject[] = [];
  for (const object of objects.toSorted((a, b) => rank(a) - rank(b))) {
    ensureNamespace(store, object.metadata.namespace);
    made.push(store.create(await admitted(store, object)));
  }
  return made;
}

async function admitted(store: Store, object: KubernetesObject): Promise<KubernetesObject> {
  const resource = resourceOf(object);
  // The store says what is wrong with a kind that is not served.
  if (resource === undefined) return object;
  const namespace = resource.namespaced ? (object.metadata.namespace ?? 'default') : undefined;
  return (await admit(store, { operation: 'CREATE', resource, namespace, object, oldObject: undefined })).object;
}

function ensureNamespace(store: Store, name: string | undefined): void {
  if (name === undefined || store.find(namespaces, undefined, name) !== undefined) return;
  store.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
}
