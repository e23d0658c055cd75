import { isJsonArray, isJsonObject, type JsonValue } from '../../src/cni/json.ts';

/**
 * Takes out of what is seen on a node all that is its own: its paths, and the names and addresses that were made up
 * there. What is seen second is called second on either node.
 */
export class Names {
  readonly #paths: readonly (readonly [string, string])[];
  readonly #given: string;
  readonly #seen = new Map<string, string>();

  /**
   * @param paths What to call each path.
   * @param given All that a case says: addresses that are in there were not made up.
   */
  constructor(paths: Readonly<Record<string, string>>, given: string) {
    // The longest first: one may begin as another does.
    this.#paths = Object.entries(paths).toSorted(([, a], [, b]) => b.length - a.length);
    this.#given = given.toLowerCase();
  }

  text(text: string): string {
    const named = this.#paths.reduce((rest, [name, path]) => rest.replaceAll(path, name), text);
    return named
      .replaceAll(/\bveth[0-9a-f]{8}\b/g, (found) => this.#call('veth', found))
      .replaceAll(/\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b/gi, (found) => this.#mac(found))
      .replaceAll(/\bfe80::[0-9a-f:]+/g, (found) => (this.#given.includes(found) ? found : '<link-local>'));
  }

  value(value: JsonValue): JsonValue {
    if (typeof value === 'string') return this.text(value);
    if (isJsonArray(value)) return value.map((item) => this.value(item));
    if (!isJsonObject(value)) return value;
    const entries = Object.entries(value).map(([key, item]) => [
      this.text(key),
      item === undefined ? item : this.value(item),
    ]);
    return Object.fromEntries(entries);
  }

  #mac(found: string): string {
    const isMadeUp = !/^(00|ff|33:33|01:00|01:80)/i.test(found) && !this.#given.includes(found.toLowerCase());
    return isMadeUp ? this.#call('mac', found) : found;
  }

  #call(kind: string, found: string): string {
    const known = this.#seen.get(found);
    if (known !== undefined) return known;
    const count = [...this.#seen.values()].filter((name) => name.startsWith(`<${kind} `)).length;
    const name = `<${kind} ${count + 1}>`;
    this.#seen.set(found, name);
    return name;
  }
}
