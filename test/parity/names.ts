import { isJsonArray, isJsonObject, type JsonValue } from '../../src/cni/json.ts';

/** Of a bridge's number: a MAC address in which zeros are left out. */
const unpadded = /(?<=\b[0-9a-f]{4}\.)[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}\b/g;
const padded = /\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b/gi;

/**
 * Takes out of what is seen on a node all that is its own: its paths, and the names and addresses that were made up
 * there. An address is called after the interface that has it; of names, what is seen second is called second.
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

  /** Interfaces and their addresses, in the order in which they were made. What a bridge has of a port is the port's. */
  learn(links: readonly Owner[]): void {
    for (const { name } of links) this.text(name);
    for (const isBridge of [false, true]) {
      for (const link of links.filter((each) => each.isBridge === isBridge)) {
        if (this.#isMadeUp(link.mac) && !this.#seen.has(link.mac)) {
          this.#seen.set(link.mac, `<MAC of ${this.text(link.name)}>`);
        }
      }
    }
  }

  text(text: string): string {
    const named = this.#paths.reduce((rest, [name, path]) => rest.replaceAll(path, name), text);
    return named
      .replaceAll(/\bveth[0-9a-f]{8}\b/g, (found) => this.#call('veth', found))
      .replaceAll(unpadded, (found) => found.replaceAll(/\b[0-9a-f]\b/g, '0$&'))
      .replaceAll(padded, (found) => (this.#isMadeUp(found) ? this.#call('MAC', found) : found))
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

  #isMadeUp(mac: string): boolean {
    return (
      /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac) &&
      !/^(00|ff|33:33|01:00|01:80)/i.test(mac) &&
      !this.#given.includes(mac.toLowerCase())
    );
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

interface Owner {
  readonly name: string;
  readonly mac: string;
  readonly isBridge: boolean;
}
