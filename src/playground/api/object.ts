import { z } from 'zod';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../cni/json.ts';

type TextMap = Readonly<Record<string, string>>;

export interface Metadata extends JsonObject {
  readonly name: string;
  readonly generateName?: string | undefined;
  readonly namespace?: string | undefined;
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
  readonly creationTimestamp?: string | null | undefined;
  readonly deletionTimestamp?: string | null | undefined;
  readonly labels?: TextMap | null | undefined;
  readonly annotations?: TextMap | null | undefined;
}

/** What every object of Kubernetes has. All else is kept as it came. */
export interface KubernetesObject extends JsonObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
}

/** An object as the store holds it. It is never changed in place: each version is an object of its own. */
export interface StoredObject extends KubernetesObject {
  readonly metadata: StoredMetadata;
}

export interface StoredMetadata extends Metadata {
  readonly uid: string;
  readonly resourceVersion: string;
  readonly creationTimestamp: string;
}

/** Optional, so that a key may be there without a value, as objects made here may have; it is left out when written. */
const anything = z.json().optional();

const textMap = z.record(z.string(), z.string()).nullish();

export const objectSchema: z.ZodType<KubernetesObject> = z
  .object({
    apiVersion: z.string().min(1),
    kind: z.string().min(1),
    metadata: z
      .object({
        name: z.string().default(''),
        generateName: z.string().optional(),
        namespace: z.string().optional(),
        uid: z.string().optional(),
        resourceVersion: z.string().optional(),
        creationTimestamp: z.string().nullish(),
        deletionTimestamp: z.string().nullish(),
        labels: textMap,
        annotations: textMap,
      })
      .catchall(anything),
  })
  .catchall(anything);

/** The value at a path such as `spec.nodeName`, or undefined where the path leads nowhere. */
export function at(value: JsonValue | undefined, path: string): JsonValue | undefined {
  let current: JsonValue | undefined = value;
  for (const part of path.split('.')) {
    if (!isJsonObject(current)) return undefined;
    current = current[part];
  }
  return current;
}

/** The same, as text; empty where there is none. */
export function textAt(value: JsonValue | undefined, path: string): string {
  const found = at(value, path);
  return typeof found === 'string' || typeof found === 'number' || typeof found === 'boolean' ? String(found) : '';
}

/** The same, as a list; empty where there is none. */
export function listAt(value: JsonValue | undefined, path: string): readonly JsonValue[] {
  const found = at(value, path);
  return Array.isArray(found) ? found : [];
}

/** Whether two values are the same once written: the order of keys says nothing, nor does a key without a value. */
export function equalJson(a: JsonValue | undefined, b: JsonValue | undefined): boolean {
  if (isJsonArray(a) && isJsonArray(b)) return a.length === b.length && a.every((item, i) => equalJson(item, b[i]));
  if (!isJsonObject(a) || !isJsonObject(b)) return a === b;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) => equalJson(a[key], b[key]));
}

/** An object without what is in it. */
export function metadataOf({ metadata }: KubernetesObject): KubernetesObject {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
}
