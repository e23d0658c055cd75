import type { IncomingMessage } from 'node:http';
import type { JsonObject, JsonValue } from '../../cni/json.ts';
import { type KubernetesObject, metadataOf } from './object.ts';
import { groupVersion, type Resource } from './resources.ts';
import { tableOf } from './table.ts';

/** How objects are written for a request, as its Accept header wants them. */
export interface Presentation {
  readonly one: (object: KubernetesObject) => JsonValue;
  /** @param metadata Of the list: its version, and where it goes on. */
  readonly list: (objects: readonly KubernetesObject[], metadata: JsonObject) => JsonValue;
}

/**
 * Of what a client accepts the first counts: whole objects, their metadata alone, or a table (Kubernetes API concepts,
 * "Alternate representations of resources").
 *
 * @param include What a table's row carries of its object, as the query parameter `includeObject` says.
 */
export function presentationFor(request: IncomingMessage, resource: Resource, include: string): Presentation {
  const [, form] = /^[^,]*;as=(\w+)/.exec(request.headers.accept ?? '') ?? [];
  switch (form) {
    case 'Table':
      return {
        one: (object) => tableOf(resource, [object], { resourceVersion: object.metadata.resourceVersion }, include),
        list: (objects, metadata) => tableOf(resource, objects, metadata, include),
      };
    case 'PartialObjectMetadata':
    case 'PartialObjectMetadataList':
      return {
        one: metadataOf,
        list: (objects, metadata) => {
          const items = objects.map(metadataOf);
          return { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1', metadata, items };
        },
      };
    default:
      return {
        one: (object) => object,
        list: (items, metadata) => ({
          kind: `${resource.kind}List`,
          apiVersion: groupVersion(resource),
          metadata,
          items,
        }),
      };
  }
}
