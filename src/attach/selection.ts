import { z } from 'zod';
import { CniError, ErrorCode, toCniError } from '../cni/error.ts';
import type { JsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import { parseWith, show } from '../cni/schema.ts';
import { interfaceName, name, namespace, selectionElement } from './selection-element.ts';

/** The annotation in which a pod asks for networks (multi-network specification v1.3, section 4.1). */
export const networksAnnotation = 'k8s.v1.cni.cncf.io/networks';

/** The annotation, of Multus, in which a pod asks for another default network. */
export const defaultNetworkAnnotation = 'v1.multus-cni.io/default-network';

/** One network that a pod asks for (specification v1.3, section 4.1.2), with its namespace filled in. */
export interface NetworkSelection {
  readonly namespace: string;
  readonly name: string;
  readonly interface?: string | undefined;
  /** Addresses, with or without a prefix length. */
  readonly ips?: readonly string[] | undefined;
  readonly mac?: string | undefined;
  readonly infinibandGuid?: string | undefined;
  readonly portMappings?: readonly JsonObject[] | undefined;
  readonly bandwidth?: JsonObject | undefined;
  readonly deviceId?: string | undefined;
  /** Name of the IPAMClaim that the pod's addresses are kept by. */
  readonly ipamClaim?: string | undefined;
  readonly cniArgs?: JsonObject | undefined;
  /** Gateways of the pod's default route. An empty list asks for the gateways that the network itself names. */
  readonly defaultRoute?: readonly string[] | undefined;
}

/** An annotation that cannot be followed. The message says where in the annotation, what was expected and what was found. */
export class SelectionError extends CniError {
  constructor(annotation: string, problem: string) {
    const remedy = `correct the annotation ${annotation} of the pod, or of what the pod is made from; the pod is tried again by itself`;
    super(ErrorCode.InvalidNetworkConfig, `annotation ${annotation}: ${problem}`, remedy);
  }
}

const maxElements = 64;
const maxAnnotationLength = 64 * 1024;

const elements = z.array(selectionElement, { error: 'expected a list of network selection elements, [{"name": ...}]' });
const item = z.object({ namespace, name, interface: interfaceName });

/**
 * Reads the networks annotation, in its comma form (`ns/name@interface, ...`) or its JSON form.
 *
 * @param podNamespace Where a network is looked for that names no namespace.
 * @throws {SelectionError}
 */
export function parseNetworks(annotation: string, podNamespace: string): NetworkSelection[] {
  const selections = parseSelections(networksAnnotation, annotation, podNamespace);
  const both = selections.findIndex(({ ips, ipamClaim }) => ipamClaim && ips?.length);
  if (both !== -1) {
    throw new SelectionError(
      networksAnnotation,
      `[${both}]: "ips" and "ipam-claim-reference" exclude each other: the claim keeps the addresses; remove one of the two`,
    );
  }
  return selections;
}

/**
 * Reads the default-network annotation, which has the forms of the networks annotation and exactly one network.
 *
 * OVN-Kubernetes has both "ips" and "ipam-claim-reference" in this one.
 *
 * @param namespace Where the network is looked for when it names no namespace.
 * @throws {SelectionError}
 */
export function parseDefaultNetwork(annotation: string, namespace: string): NetworkSelection {
  const [selection, ...more] = parseSelections(defaultNetworkAnnotation, annotation, namespace);
  if (selection !== undefined && more.length === 0) return selection;
  const found = selection === undefined ? 'none' : more.length + 1;
  throw new SelectionError(defaultNetworkAnnotation, `expected exactly one network, found ${found}`);
}

function parseSelections(key: string, annotation: string, defaultNamespace: string): NetworkSelection[] {
  if (annotation.length > maxAnnotationLength) {
    throw new SelectionError(key, `longer than ${maxAnnotationLength} characters, it has ${annotation.length}`);
  }
  if (annotation.trim() === '') return [];
  const selections = isJsonForm(annotation)
    ? parseJsonForm(key, annotation, defaultNamespace)
    : parseCommaForm(key, annotation, defaultNamespace);
  if (selections.length <= maxElements) return selections;
  throw new SelectionError(key, `${selections.length} networks, at most ${maxElements} are allowed`);
}

function parseCommaForm(key: string, annotation: string, podNamespace: string): NetworkSelection[] {
  const items = annotation.split(',').map((each, index) => parseItem(each.trim(), index, podNamespace));
  const problems = items.filter((each) => typeof each === 'string');
  if (problems.length > 0) throw new SelectionError(key, firstOf(problems));
  return items.filter((each) => typeof each !== 'string');
}

/** More than these help nobody. */
const maxProblems = 5;

function firstOf(problems: readonly string[]): string {
  const more = problems.length > maxProblems ? `; and ${problems.length - maxProblems} more` : '';
  return `${problems.slice(0, maxProblems).join('; ')}${more}`;
}

/** @returns What is wrong with it, where it cannot be followed. */
function parseItem(text: string, index: number, podNamespace: string): NetworkSelection | string {
  const where = `item ${index + 1}, ${show(text)}`;
  const shape = /^(?:([^/@]*)\/)?([^/@]*)(?:@([^/@]*))?$/.exec(text);
  if (shape === null) return `${where}: expected [namespace/]name[@interface]`;
  const [ns, itemName, ifName] = shape.slice(1).map((part) => part?.trim());
  const parsed = item.safeParse({ namespace: ns, name: itemName, interface: ifName });
  if (parsed.success) return { ...parsed.data, namespace: parsed.data.namespace ?? podNamespace };
  return `${where}: ${parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')}`;
}

function parseJsonForm(key: string, annotation: string, podNamespace: string): NetworkSelection[] {
  return readElements(key, annotation).map((element) => ({
    namespace: element.namespace ?? podNamespace,
    name: element.name,
    interface: element.interface ?? element.interfaceRequest,
    ips: element.ips,
    mac: element.mac,
    infinibandGuid: element['infiniband-guid'],
    portMappings: element.portMappings,
    bandwidth: element.bandwidth,
    deviceId: element.deviceID ?? element['device-id'],
    ipamClaim: element['ipam-claim-reference'],
    cniArgs: element['cni-args'],
    defaultRoute: element['default-route'],
  }));
}

/**
 * What is passed over in a networks annotation that can be read: keys that nobody knows. Those of others have a period in
 * them (specification v1.3, section 4.1.2.1); those without are misspelt, most of the time.
 *
 * @returns Their paths, such as `[0].ip`.
 */
export function unknownKeys(annotation: string): readonly string[] {
  if (!isJsonForm(annotation)) return [];
  return readElements(networksAnnotation, annotation).flatMap((element, place) =>
    Object.keys(element)
      .filter((key) => !Object.hasOwn(selectionElement.shape, key) && !key.includes('.'))
      .map((key) => `[${place}].${/^[\w-]{1,60}$/.test(key) ? key : show(key)}`),
  );
}

/** The keys of a network selection element, for messages. */
export const knownKeys: readonly string[] = Object.keys(selectionElement.shape);

const isJsonForm = (annotation: string): boolean => /[[{"]/.test(annotation);

function readElements(key: string, annotation: string): z.infer<typeof elements> {
  const source = `annotation ${key}`;
  try {
    return parseWith(elements, parseJson(annotation, `${source}: not valid JSON`), source);
  } catch (error) {
    throw new SelectionError(key, toCniError(error).message.slice(source.length + 2));
  }
}
