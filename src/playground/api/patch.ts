import type { JsonValue } from '../../cni/json.ts';
import { Failure } from './failure.ts';
import { jsonPatch } from './json-patch.ts';
import { mergePatch, strategicMergePatch } from './merge-patch.ts';
import type { Resource } from './resources.ts';

type Patcher = (target: JsonValue, patch: JsonValue) => JsonValue;

const patchers: ReadonlyMap<string, Patcher> = new Map<string, Patcher>([
  ['application/merge-patch+json', mergePatch],
  ['application/json-patch+json', jsonPatch],
  ['application/strategic-merge-patch+json', strategicMergePatch],
]);

/**
 * How a patch of one of the types that clients send is applied. It is asked for before anything else of the request is
 * looked at.
 *
 * @throws {Failure} UnsupportedMediaType. {Failure} BadRequest, Invalid from what is returned.
 */
export function patcherOf(resource: Resource, contentType: string): Patcher {
  const type = contentType.split(';')[0]?.trim() ?? '';
  // Of custom resources the API server does not know how lists are merged, and refuses it.
  const served = [...patchers.keys()].filter((each) => resource.group === '' || !each.includes('strategic'));
  const patcher = patchers.get(type);
  if (patcher !== undefined && served.includes(type)) return patcher;
  throw new Failure(
    'UnsupportedMediaType',
    `a patch of type "${type}" is not served for ${resource.plural}; expected ${served.join(', ')}`,
  );
}
