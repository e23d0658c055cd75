import { z } from 'zod';
import { isJsonArray, isJsonObject, type JsonValue } from '../../cni/json.ts';
import { issuesOf } from '../../kubernetes/issues.ts';
import { Failure } from './failure.ts';
import { equalJson } from './object.ts';

const operationsSchema = z.array(
  z.discriminatedUnion('op', [
    z.object({ op: z.enum(['add', 'replace', 'test']), path: z.string(), value: z.json() }),
    z.object({ op: z.literal('remove'), path: z.string() }),
    z.object({ op: z.enum(['move', 'copy']), path: z.string(), from: z.string() }),
  ]),
);

/** RFC 6902. @throws {Failure} BadRequest; Invalid where it does not fit the document. */
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

/** RFC 6901. */
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
    const next: JsonValue | undefined = isJsonArray(current) ? current[Number(part)] : member(current, part);
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
    if (isJsonArray(current)) return changeList(current, part, rest);
    if (isJsonObject(current)) return changeMap(new Map(Object.entries(current)), part, rest);
    throw refused(`"${pointer}" leads into something that is neither a map nor a list`);
  };
  const changeList = (list: readonly JsonValue[], part: string, rest: readonly string[]): JsonValue => {
    const adds = op === 'add' && rest.length === 0;
    const index = part === '-' ? list.length : Number(part);
    const next = list[index];
    if (!/^(-|0|[1-9]\d*)$/.test(part) || (adds ? index > list.length : next === undefined)) {
      throw refused(`"${pointer}" is outside of its list`);
    }
    if (rest.length > 0 && next !== undefined) return list.with(index, change(next, rest));
    return list.toSpliced(index, adds ? 0 : 1, ...(op === 'remove' ? [] : [value]));
  };
  const changeMap = (map: Map<string, JsonValue | undefined>, part: string, rest: readonly string[]): JsonValue => {
    const next = map.get(part);
    if (next === undefined && (rest.length > 0 || op !== 'add')) throw refused(`there is nothing at "${pointer}"`);
    if (rest.length > 0 && next !== undefined) map.set(part, change(next, rest));
    else if (op === 'remove') map.delete(part);
    else map.set(part, value);
    return Object.fromEntries(map);
  };
  return change(document, segmentsOf(pointer));
}
