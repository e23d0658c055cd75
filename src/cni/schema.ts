import { z } from 'zod';
import { CniError, ErrorCode } from './error.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import type { PluginConfig } from './plugin.ts';

/** More problems than this in one message help nobody. */
const maxProblems = 5;

const maxFoundLength = 60;

/**
 * Reads a plugin's own keys out of its configuration.
 *
 * Keys match without regard to case and a null counts as absent, as Go's encoding/json has it, which every
 * configuration in use was written against. Only keys that the schema names are touched.
 *
 * A schema's own message says what was expected and begins so, as in `z.string('expected a name')`; what was found is
 * added here: `network "x": ipam.subnet: expected a prefix such as 10.0.0.0/24, found "abc"`.
 *
 * @throws {CniError} 7 naming the network, the path in its configuration, what was expected and what was found.
 */
export function parsePluginConfig<S extends z.ZodType>(schema: S, config: PluginConfig): z.output<S> {
  return parseWith(schema, config, `network "${config.name}"`);
}

/**
 * {@link parsePluginConfig} for any other JSON.
 *
 * @param source What is read, as the message begins.
 * @throws {CniError} of the code given.
 */
export function parseWith<S extends z.ZodType>(
  schema: S,
  json: JsonValue,
  source: string,
  code: number = ErrorCode.InvalidNetworkConfig,
): z.output<S> {
  const input = matchKeys(schema, json);
  const parsed = schema.safeParse(input, { error: expectation });
  if (parsed.success) return parsed.data;
  throw new CniError(code, `${source}: ${describeIssues(parsed.error.issues, input)}`);
}

function describeIssues(issues: readonly z.core.$ZodIssue[], input: JsonValue): string {
  const problems = issues.slice(0, maxProblems).map((issue) => describeIssue(issue, input));
  if (issues.length > maxProblems) problems.push(`and ${issues.length - maxProblems} more`);
  return problems.join('; ');
}

function describeIssue(issue: z.core.$ZodIssue, input: JsonValue): string {
  const path = formatPath(issue.path);
  const found = issue.message.startsWith('expected') ? `, found ${show(valueAt(input, issue.path))}` : '';
  return `${path === '' ? '' : `${path}: `}${issue.message}${found}`;
}

/** `ipam.ranges[0][1].subnet` */
export function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`))
    .join('');
}

function valueAt(input: JsonValue, path: readonly PropertyKey[]): JsonValue | undefined {
  let value: JsonValue | undefined = input;
  for (const key of path) {
    if (isJsonArray(value) && typeof key === 'number') value = value[key];
    else if (isJsonObject(value) && typeof key === 'string') value = value[key];
    else return undefined;
  }
  return value;
}

/** A value as an error message shows it: JSON, cut where it gets long. */
export function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : (JSON.stringify(value) ?? 'nothing');
  return text.length > maxFoundLength ? `${text.slice(0, maxFoundLength)}...` : text;
}

/** What zod's own checks expected. A message in the schema goes before these. */
function expectation(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${typeNames[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.map((value) => show(value)).join(' or ')}`;
    case 'too_small':
      return `expected ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${unit(issue.origin, issue.minimum)}`;
    case 'too_big':
      return `expected ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${unit(issue.origin, issue.maximum)}`;
    case 'invalid_format':
      return `expected text of the form ${issue.pattern ?? issue.format}`;
    case 'unrecognized_keys':
      return `unknown ${issue.keys.length === 1 ? 'key' : 'keys'} ${issue.keys.join(', ')}`;
    case 'invalid_union':
      return unionExpectation(issue.errors);
    default:
      return issue.message ?? 'expected another value';
  }
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  record: 'an object',
  array: 'a list',
  null: 'null',
};

function unit(origin: string, count: number | bigint): string {
  if (origin === 'string') return count === 1 ? ' character' : ' characters';
  if (origin === 'array') return count === 1 ? ' entry' : ' entries';
  return '';
}

/** The alternatives' own expectations, where each failed on the value itself. */
function unionExpectation(errors: readonly (readonly z.core.$ZodIssue[])[]): string {
  const alternatives = errors.flatMap((issues) => issues.filter((issue) => issue.path.length === 0));
  const wanted = alternatives.map((issue) => issue.message.replace(/^expected /, ''));
  return wanted.length > 0 ? `expected ${[...new Set(wanted)].join(' or ')}` : 'expected another value';
}

/**
 * Renames the keys that the schema names to the schema's spelling, and leaves out those that are null. Where one key is
 * given in several spellings the last one counts, as in Go.
 */
export function matchKeys(schema: z.core.$ZodType, json: JsonValue): JsonValue {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodObject && isJsonObject(json)) return matchObject(inner.shape, json);
  if (inner instanceof z.ZodArray && isJsonArray(json)) return json.map((item) => matchKeys(inner.element, item));
  if (inner instanceof z.ZodRecord && isJsonObject(json)) {
    return mapValues(json, (value) => matchKeys(inner.valueType, value));
  }
  if (inner instanceof z.ZodUnion)
    return matchEach(
      inner.options.filter((option) => takes(option, json)),
      json,
    );
  if (inner instanceof z.ZodIntersection) return matchEach([inner.def.left, inner.def.right], json);
  return json;
}

function matchEach(schemas: readonly z.core.$ZodType[], json: JsonValue): JsonValue {
  return schemas.reduce((matched, schema) => matchKeys(schema, matched), json);
}

type Shape = Readonly<Record<string, z.core.$ZodType>>;

/** The keys of a shape by their lower-case forms. Schemas are few and live for ever. */
const spellings = new WeakMap<Shape, ReadonlyMap<string, string>>();

function spellingOf(shape: Shape): ReadonlyMap<string, string> {
  const known = spellings.get(shape);
  if (known !== undefined) return known;
  const spelling = new Map(Object.keys(shape).map((key) => [key.toLowerCase(), key]));
  spellings.set(shape, spelling);
  return spelling;
}

/** The object itself where nothing of it changes, as for most. */
function matchObject(shape: Shape, json: JsonObject): JsonObject {
  const spelling = spellingOf(shape);
  const matched: [string, JsonValue][] = [];
  let isChanged = false;
  for (const key of Object.keys(json)) {
    const value = json[key];
    if (value === undefined) continue;
    const known = Object.hasOwn(shape, key) ? key : spelling.get(key.toLowerCase());
    const schema = known === undefined ? undefined : shape[known];
    if (known === undefined || schema === undefined) {
      matched.push([key, value]);
    } else if (value !== null || acceptsNull(schema)) {
      const inner = matchKeys(schema, value);
      matched.push([known, inner]);
      isChanged ||= known !== key || inner !== value;
    } else isChanged = true;
  }
  return isChanged ? Object.fromEntries(matched) : json;
}

function mapValues(object: JsonObject, map: (value: JsonValue) => JsonValue): JsonObject {
  const entries = Object.entries(object).map(([key, value]) => [key, value === undefined ? undefined : map(value)]);
  return Object.fromEntries(entries);
}

/** Whether a union's alternative may be meant, by the kind of value alone. */
function takes(schema: z.core.$ZodType, json: JsonValue): boolean {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray) return isJsonArray(json);
  return isJsonObject(json);
}

function acceptsNull(schema: z.core.$ZodType): boolean {
  return z.core.safeParse(schema, null).success;
}

const unwrapped = new WeakMap<z.core.$ZodType, z.core.$ZodType>();

/** The schema inside optional(), default(), pipe() and the like. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const known = unwrapped.get(schema);
  if (known !== undefined) return known;
  const inner = unwrapOnce(schema);
  unwrapped.set(schema, inner);
  return inner;
}

function unwrapOnce(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly ||
    schema instanceof z.ZodCatch ||
    schema instanceof z.ZodNonOptional
  ) {
    return unwrap(schema.def.innerType);
  }
  if (schema instanceof z.ZodPipe) {
    const { in: input, out } = schema.def;
    return unwrap(input instanceof z.ZodTransform ? out : input);
  }
  if (schema instanceof z.ZodLazy) return unwrap(schema.def.getter());
  return schema;
}
