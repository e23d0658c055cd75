import { Failure } from './failure.ts';
import { type KubernetesObject, textAt } from './object.ts';
import type { Resource } from './resources.ts';

/** Whether an object is one of those asked for. */
export type Selector = (object: KubernetesObject) => boolean;

const flags: readonly string[] = ['spec.hostNetwork', 'spec.unschedulable'];

/**
 * Reads a field selector: `field=value,field!=value`.
 *
 * @throws {Failure} BadRequest for a field that this resource cannot be selected by, with those it can.
 */
export function fieldSelector(text: string, resource: Resource): Selector {
  const known = ['metadata.name', 'metadata.namespace', ...resource.fields];
  const terms = text.split(',').flatMap((term): Selector[] => {
    if (term.trim() === '') return [];
    const [, field = '', operator = '', value = ''] = /^([^=!]+)(==|=|!=)(.*)$/.exec(term.trim()) ?? [];
    if (field === '') throw new Failure('BadRequest', `invalid field selector "${term}": expected field=value`);
    if (!known.includes(field)) {
      throw new Failure(
        'BadRequest',
        `field label not supported: ${field}; ${resource.plural} have ${known.join(', ')}`,
      );
    }
    // An event's source is selected by its component; true or false is false where nothing is said.
    const path = field === 'source' ? 'source.component' : field;
    const absent = flags.includes(field) ? 'false' : '';
    return [(object) => ((textAt(object, path) || absent) === value) === (operator !== '!=')];
  });
  return (object) => terms.every((term) => term(object));
}

/**
 * Reads a label selector: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, separated by commas.
 *
 * @throws {Failure} BadRequest.
 */
export function labelSelector(text: string): Selector {
  const terms = text
    .split(/,(?![^(]*\))/)
    .flatMap((term): Selector[] => (term.trim() === '' ? [] : [labelTerm(term.trim())]));
  return (object) => terms.every((term) => term(object));
}

function labelTerm(term: string): Selector {
  const label = ({ metadata: { labels } }: KubernetesObject, key: string): string | undefined =>
    labels && Object.hasOwn(labels, key) ? labels[key] : undefined;
  const [, setKey = '', setOperator, setValues = ''] = /^([\w./-]+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(term) ?? [];
  if (setOperator !== undefined) {
    const values = setValues.split(',').map((value) => value.trim());
    return (object) => values.includes(label(object, setKey) ?? '\0') === (setOperator === 'in');
  }
  const [, key = '', operator, value = ''] = /^([\w./-]+)\s*(==|=|!=)\s*([\w.-]*)$/.exec(term) ?? [];
  if (operator !== undefined) return (object) => (label(object, key) === value) === (operator !== '!=');
  const [, not, existing] = /^(!?)([\w./-]+)$/.exec(term) ?? [];
  if (existing === undefined) throw new Failure('BadRequest', `unable to parse requirement: "${term}"`);
  return (object) => (label(object, existing) !== undefined) === (not === '');
}
