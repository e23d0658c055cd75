import { isJsonObject } from '../../cni/json.ts';
import { Failure } from './failure.ts';
import { at, type KubernetesObject, textAt } from './object.ts';
import { events, networkAttachmentDefinitions, type Resource } from './resources.ts';

/** A refusal for one field, with the cause that clients may look at: what field.Invalid in apimachinery makes. */
export function invalid(resource: Resource, name: string, field: string, why: string): Failure {
  const { group, kind } = resource;
  const qualified = group === '' ? kind : `${kind}.${group}`;
  const details = {
    name,
    ...(group !== '' && { group }),
    kind,
    causes: [{ reason: 'FieldValueInvalid', message: why, field }],
  };
  return new Failure('Invalid', `${qualified} "${name}" is invalid: ${field}: ${why}`, details);
}

/**
 * What a real API server refuses of the objects that are written here: an event of another namespace than the object it is
 * about (ValidateEventCreate in pkg/apis/core/validation), and a network whose configuration is not text (by the schema of
 * its CustomResourceDefinition). All else is taken as it comes.
 *
 * @throws {Failure} Invalid.
 */
export function requireValid(resource: Resource, object: KubernetesObject): void {
  const { name, namespace } = object.metadata;
  if (resource === events) {
    const about = textAt(object, 'involvedObject.namespace');
    if ((about || 'default') !== namespace) {
      const why = `Invalid value: "${about}": does not match event.namespace`;
      throw invalid(resource, name, 'involvedObject.namespace', why);
    }
  }
  if (resource === networkAttachmentDefinitions) {
    requireType(resource, object, 'spec', isJsonObject, 'object');
    requireType(resource, object, 'spec.config', (value) => typeof value === 'string', 'string');
  }
}

function requireType(
  resource: Resource,
  object: KubernetesObject,
  field: string,
  isRight: (value: unknown) => boolean,
  wanted: string,
): void {
  const value = at(object, field);
  if (value === undefined || value === null || isRight(value)) return;
  const found = typeOf(value);
  const why = `Invalid value: "${found}": ${field} in body must be of type ${wanted}: "${found}"`;
  throw invalid(resource, object.metadata.name, field, why);
}

/** As OpenAPI names the type of a value. */
function typeOf(value: unknown): string {
  if (Array.isArray(value)) return 'array';
  if (Number.isInteger(value)) return 'integer';
  return typeof value;
}
