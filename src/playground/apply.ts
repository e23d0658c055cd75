import type { KubernetesObject, StoredObject } from './api/object.ts';
import { namespaces, pods, resourceOf } from './api/resources.ts';
import type { Store } from './api/store.ts';

/**
 * Makes objects, networks before the pods that ask for them, in whatever order they were given. Namespaces that they are
 * in and that nobody made are made first.
 *
 * @returns What was made, in its order.
 * @throws {Failure} as the API refuses.
 */
export function applyObjects(store: Store, objects: readonly KubernetesObject[]): StoredObject[] {
  const rank = (object: KubernetesObject): number =>
    object.kind === 'Namespace' ? 0 : resourceOf(object) === pods ? 2 : 1;
  return objects
    .toSorted((a, b) => rank(a) - rank(b))
    .map((object) => {
      ensureNamespace(store, object.metadata.namespace);
      return store.create(object);
    });
}

function ensureNamespace(store: Store, name: string | undefined): void {
  if (name === undefined || store.find(namespaces, undefined, name) !== undefined) return;
  store.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
}
