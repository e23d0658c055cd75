import { isJsonArray, isJsonObject, type JsonValue } from '../../src/cni/json.ts';

/** One place where the twins are not equal. Undefined: this one has nothing there. */
export interface Found {
  /** Where, such as `1 ADD/result/interfaces/0/mac`. */
  readonly path: string;
  readonly go: JsonValue | undefined;
  readonly plexus: JsonValue | undefined;
}

/** Everything that two observations differ in. What one of them lacks is told once, not for each thing inside. */
export function compare(go: JsonValue | undefined, plexus: JsonValue | undefined, path = ''): Found[] {
  const [left, right] = [childrenOf(go), childrenOf(plexus)];
  if (left === undefined || right === undefined) {
    return JSON.stringify(go) === JSON.stringify(plexus) ? [] : [{ path, go, plexus }];
  }
  const keys = [...new Set([...left.keys(), ...right.keys()])];
  return keys.flatMap((key) => compare(left.get(key), right.get(key), path === '' ? key : `${path}/${key}`));
}

function childrenOf(value: JsonValue | undefined): ReadonlyMap<string, JsonValue | undefined> | undefined {
  if (isJsonArray(value)) return new Map(value.map((item, index) => [String(index), item]));
  if (isJsonObject(value)) return new Map(Object.entries(value));
  return undefined;
}

/** `path: Go's | that of Plexus` */
export function describeFound({ path, go, plexus }: Found): string {
  return `${path}: ${show(go)} | ${show(plexus)}`;
}

const show = (value: JsonValue | undefined): string => (value === undefined ? 'nothing' : JSON.stringify(value));
