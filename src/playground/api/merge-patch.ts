import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../cni/json.ts';
import { equalJson } from './object.ts';

/** RFC 7386. */
export function mergePatch(target: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isJsonObject(patch)) return patch;
  const merged = new Map(isJsonObject(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else if (value !== undefined) merged.set(key, mergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

/** By which key the elements of a list are told apart: patchMergeKey in k8s.io/api/core/v1/types.go. */
const mergeKeys: ReadonlyMap<string, string> = new Map([
  ['containers', 'name'],
  ['initContainers', 'name'],
  ['ephemeralContainers', 'name'],
  ['volumes', 'name'],
  ['env', 'name'],
  ['imagePullSecrets', 'name'],
  ['resourceClaims', 'name'],
  ['schedulingGates', 'name'],
  ['volumeMounts', 'mountPath'],
  ['volumeDevices', 'devicePath'],
  ['ports', 'containerPort'],
  ['hostAliases', 'ip'],
  ['podIPs', 'ip'],
  ['hostIPs', 'ip'],
  ['topologySpreadConstraints', 'topologyKey'],
  ['ownerReferences', 'uid'],
  ['conditions', 'type'],
  ['addresses', 'type'],
]);

/** Lists of plain values that are joined instead of replaced. */
const joined: ReadonlySet<string> = new Set(['finalizers', 'podCIDRs']);

/**
 * A strategic merge patch: a merge patch that goes into lists, as kubectl sends it for pods and nodes (apimachinery,
 * util/strategicpatch). The order that `$setElementOrder` wants is not kept: it means nothing to readers.
 */
export function strategicMergePatch(target: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isJsonObject(patch)) return patch;
  const { $patch: directive, $retainKeys: retain, ...changes } = patch;
  if (directive === 'delete') return {};
  const merged = new Map(directive !== 'replace' && isJsonObject(target) ? Object.entries(target) : []);
  if (isJsonArray(retain)) for (const key of merged.keys()) if (!retain.includes(key)) merged.delete(key);
  for (const [key, value] of Object.entries(changes)) {
    const [, drained] = /^\$deleteFromPrimitiveList\/(.+)$/.exec(key) ?? [];
    if (drained !== undefined) merged.set(drained, without(merged.get(drained), value));
    else if (key.startsWith('$') || value === undefined) continue;
    else if (value === null) merged.delete(key);
    else if (isJsonArray(value)) merged.set(key, mergeList(key, merged.get(key), value));
    else merged.set(key, strategicMergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

function without(from: JsonValue | undefined, removed: JsonValue | undefined): readonly JsonValue[] {
  const list = isJsonArray(from) ? from : [];
  if (!isJsonArray(removed)) return list;
  return list.filter((item) => !removed.some((other) => equalJson(item, other)));
}

function mergeList(name: string, target: JsonValue | undefined, patch: readonly JsonValue[]): JsonValue {
  const before = isJsonArray(target) ? target : [];
  if (joined.has(name)) return [...without(before, patch), ...patch];
  const mergeKey = mergeKeys.get(name);
  const elements = patch.filter(isJsonObject);
  const replaces = elements.some((element) => isReplacement(element));
  if (mergeKey === undefined || elements.length < patch.length || replaces) {
    return patch.filter((element) => !(isJsonObject(element) && isReplacement(element)));
  }
  const merged = new Map(before.filter(isJsonObject).map((element) => [element[mergeKey], element]));
  for (const element of elements) {
    const key = element[mergeKey];
    const next = strategicMergePatch(merged.get(key), element);
    if (element['$patch'] === 'delete') merged.delete(key);
    else if (isJsonObject(next)) merged.set(key, next);
  }
  return [...merged.values()];
}

/** An element that is no element: it says that the others replace the list. */
function isReplacement(element: JsonObject): boolean {
  return element['$patch'] === 'replace' && Object.keys(element).length === 1;
}
