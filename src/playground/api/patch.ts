import { z } from 'zod';
import { isJsonObject, type JsonValue } from '../../cni/json.ts';
import { issuesOf } from '../../kubernetes/issues.ts';
import { Failure } from './failure.ts';
import { equalJson } from './object.ts';

/**
 * Applies a patch of one of the types that clients send. A strategic merge patch is treated as a merge patch, its
 * directives (`$setElementOrder/...`) left out: lists are replaced, not merged.
 *
 * @throws {Failure}
 */
export function applyPatch(contentType: string, target: JsonValue, patch: JsonValue): JsonValue {
  switch (contentType.split(';')[0]?.trim()) {
    case 'application/merge-patch+json':
    case 'application/strategic-merge-patch+json':
      return mergePatch(target, patch);
    case 'application/json-patch+json':
      return jsonPatch(target, patch);
    default:
      throw new Failure(
        'UnsupportedMediaType',
        `a patch of type ${contentType} is not served; expected application/merge-patch+json, application/json-patch+json or application/strategic-merge-patch+json`,
      );
  }
}

/** RFC 7386. */
export function mergePatch(target: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isJsonObject(patch)) return patch;
  const merged = new Map(isJsonObject(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith('$')) continue;
    if (value === null) merged.delete(key);
    else if (value !== undefined) merged.set(key, mergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

const operationsSchema = z.array(
  z.discriminatedUnion('op', [
    z.object({ op: z.enum(['add', 'replace', 'test']), path: z.string(), value: z.json() }),
    z.object({ op: z.literal('remove'), path: z.string() }),
    z.object({ op: z.enum(['move', 'copy']), path: z.string(), from: z.string() }),
  ]),
);

/** RFC 6902. */
export function jsonPatch(target: JsonValue, patch: JsonValue): JsonValue {
  const operations = operationsSchema.safeParse(patch);
  if (!operations.success) throw new Failure('BadRequest', `not a JSON patch: ${issuesOf(operations.error)}`);
  let document = target;
  for (const operation of operations.data) {
    const { op, path } = operation;
    switch (op) {
      case 'test':
        if (!equalJson(valueAt(document, path), operation.value)) throw refused(`test of "${path}" failed`);
        break;
      case 'remove':
        document = edit(document, path, 'remove', null);
        break;
      case 'add':
      case 'replace':
        document = edit(document, path, op, operation.value);
        break;
      case 'move':
      case 'copy': {
        const value = valueAt(document, operation.from);
        if (op === 'move') document = edit(document, operation.from, 'remove', null);
        document = edit(document, path, 'add', value);
      }
    }
  }
  return document;
}

function refused(message: string): Failure {
  return new Failure('Invalid', `the server rejected our request due to an error in our request: ${message}`);
}

function segmentsOf(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw refused(`"${pointer}" is not a JSON pointer`);
  return pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function valueAt(document: JsonValue, pointer: string): JsonValue {
  let current = document;
  for (const part of segmentsOf(pointer)) {
    const next: JsonValue | undefined = Array.isArray(current) ? current[Number(part)] : member(current, part);
    if (next === undefined) throw refused(`there is nothing at "${pointer}"`);
    current = next;
  }
  return current;
}

function member(value: JsonValue, key: string): JsonValue | undefined {
  return isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** The document with one place changed; nothing is changed in place. */
function edit(document: JsonValue, pointer: string, op: 'add' | 'replace' | 'remove', value: JsonValue): JsonValue {
  const change = (current: JsonValue, [part, ...rest]: readonly string[]): JsonValue => {
    if (part === undefined) return value;
    if (Array.isArray(current)) {
      const index = part === '-' ? current.length : Number(part);
      const adds = op === 'add' && rest.length === 0;
      const limit = adds ? current.length : current.length - 1;
      if (!/^(-|0|[1-9]\d*)$/.test(part) || index > limit) throw refused(`"${pointer}" is outside of its list`);
      if (rest.length > 0) return current.with(index, change(current[index], rest));
      return current.toSpliced(index, adds ? 0 : 1, ...(op === 'remove' ? [] : [value]));
    }
    if (!isJsonObject(current)) throw refused(`"${pointer}" leads into something that is neither a map nor a list`);
    const members = new Map(Object.entries(current));
    const member = members.get(part);
    if (rest.length > 0 && member !== undefined) members.set(part, change(member, rest));
    else if (rest.length > 0 || (op !== 'add' && member === undefined))
      throw refused(`there is nothing at "${pointer}"`);
    else if (op === 'remove') members.delete(part);
    else members.set(part, value);
    return Object.fromEntries(members);
  };
  return change(document, segmentsOf(pointer));
}
