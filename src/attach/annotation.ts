import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../cni/json.ts';
import type { NetworkStatus } from '../kubernetes/status.ts';
import { type NetworkSelection, parseNetworks } from './selection.ts';

/* Changes of the networks annotation, in the form that it has, with all that nobody here knows left as it is. */

export interface Removal {
  /** The annotation without the element; undefined when none is left. */
  readonly networks: string | undefined;
  /** `namespace/name`. */
  readonly network: string;
  /** Undefined for one that is not attached. */
  readonly ifName: string | undefined;
}

/**
 * Takes one element out of an annotation.
 *
 * Of several elements of its network, those that leave their interfaces' names to us are given the names that they have: the
 * one that is taken out would not be known by its place.
 *
 * @param statuses The pod's network-status: which interface is whose.
 * @param target The interface's name, or the network's, with or without its namespace.
 * @throws {Error} when it means no element, or several.
 */
export function withoutElement(
  annotation: string,
  podNamespace: string,
  statuses: readonly NetworkStatus[],
  target: string,
): Removal {
  const selections = parseNetworks(annotation, podNamespace);
  const elements = selections.map((selection) => ({ selection, network: networkOf(selection) }));
  const names = interfacesOf(selections, statuses);
  const network = target.includes('/') ? target : `${podNamespace}/${target}`;
  const byInterface = elements.filter(({ selection }) => names.get(selection) === target);
  const found = byInterface.length > 0 ? byInterface : elements.filter((each) => each.network === network);
  const [element] = found;
  if (element === undefined || found.length > 1) {
    const all = (found.length > 1 ? found : elements).map((each) => {
      return `${names.get(each.selection) ?? 'not attached'} (${each.network})`;
    });
    const problem = found.length > 1 ? `names ${found.length} of the networks` : 'is none of the networks';
    throw new Error(
      `${target} ${problem} that the pod's annotation asks for; it is one of: ${all.join(', ') || 'none at all'}`,
    );
  }
  const index = elements.indexOf(element);
  const pinned = elements.map((each) => (each.network === element.network ? names.get(each.selection) : undefined));
  return {
    networks: rewritten(annotation, index, pinned),
    network: element.network,
    ifName: names.get(element.selection),
  };
}

/**
 * Adds an element to an annotation.
 *
 * @param element `[namespace/]name[@interface]`.
 * @throws {SelectionError} when the annotation, with it or without, cannot be followed.
 */
export function withElement(annotation: string, podNamespace: string, element: string): string {
  const [selection] = parseNetworks(element, podNamespace);
  if (selection === undefined) throw new Error('expected [namespace/]name[@interface], found nothing');
  const json = jsonForm(annotation);
  if (json === undefined) return [annotation.trim(), element.trim()].filter((text) => text !== '').join(',');
  const { name, namespace, interface: ifName } = selection;
  return JSON.stringify([...json, { name, namespace, ...(ifName !== undefined && { interface: ifName }) }]);
}

const networkOf = ({ namespace, name }: NetworkSelection): string => `${namespace}/${name}`;

/** The interface that each element has got, by the pod's network-status. */
function interfacesOf(
  selections: readonly NetworkSelection[],
  statuses: readonly NetworkStatus[],
): ReadonlyMap<NetworkSelection, string> {
  const free = new Set(statuses.filter((status) => status.default !== true));
  const names = new Map<NetworkSelection, string>();
  const match = (selection: NetworkSelection, isThis: (status: NetworkStatus) => boolean): void => {
    if (names.has(selection)) return;
    const found = [...free].find((status) => status.name === networkOf(selection) && isThis(status));
    if (found?.interface === undefined) return;
    free.delete(found);
    names.set(selection, found.interface);
  };
  for (const selection of selections) {
    if (selection.interface !== undefined) match(selection, (status) => status.interface === selection.interface);
  }
  const unnamed = selections.filter((selection) => selection.interface === undefined);
  for (const selection of unnamed) match(selection, (status) => isRecognised(selection, status));
  for (const selection of unnamed) match(selection, () => true);
  return names;
}

/** Whether an interface has what an element asks for by value. */
function isRecognised({ mac, ips }: NetworkSelection, status: NetworkStatus): boolean {
  if (mac === undefined && !ips?.length) return false;
  const addresses = ips?.map((ip) => ip.split('/')[0] ?? ip) ?? [];
  return (mac === undefined || mac === status.mac) && addresses.every((ip) => status.ips?.includes(ip));
}

/** @param pinned Interface names that elements are to ask for, where they ask for none. */
function rewritten(annotation: string, removed: number, pinned: readonly (string | undefined)[]): string | undefined {
  const json = jsonForm(annotation);
  if (json !== undefined) {
    const rest = json.map((element, index) => withInterface(element, pinned[index])).toSpliced(removed, 1);
    return rest.length === 0 ? undefined : JSON.stringify(rest);
  }
  const items = annotation.split(',').map((item, index) => {
    const name = pinned[index];
    return name === undefined || item.includes('@') ? item.trim() : `${item.trim()}@${name}`;
  });
  return items.toSpliced(removed, 1).join(',') || undefined;
}

function withInterface(element: JsonValue, name: string | undefined): JsonValue {
  if (!isJsonObject(element) || name === undefined) return element;
  const { interface: own, interfaceRequest: old } = element;
  return own || old ? element : ({ ...element, interface: name } satisfies JsonObject);
}

/** The elements of an annotation in its JSON form. */
function jsonForm(annotation: string): readonly JsonValue[] | undefined {
  if (!/[[{"]/.test(annotation)) return undefined;
  const json: JsonValue = JSON.parse(annotation);
  return isJsonArray(json) ? json : undefined;
}
