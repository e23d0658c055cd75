import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { parseIP, parsePrefix } from '../net/ip.ts';

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

/** An annotation that cannot be followed. The message says where in the annotation, and what was expected there. */
export class SelectionError extends Error {
  override readonly name = 'SelectionError';
}

const maxElements = 64;
const maxAnnotationLength = 64 * 1024;

/** DNS-1123 subdomain: what Kubernetes takes as the name of a custom resource. */
const resourceName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** DNS-1123 label: what Kubernetes takes as the name of a namespace. */
const namespaceName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
/** IFNAMSIZ - 1 characters of what the kernel's dev_valid_name() takes. `%` would make the kernel choose a number. */
const interfaceName = /^(?!\.{1,2}$)[^\s/:%]{1,15}$/;

const text = (pattern: RegExp, expected: string, max = 253) =>
  z.string().refine((value) => value.length <= max && pattern.test(value), { error: `expected ${expected}` });

const check = (parse: (value: string) => unknown, expected: string) =>
  z.string().refine((value) => succeeds(() => parse(value)), { error: `expected ${expected}` });

const name = text(resourceName, 'the name of a NetworkAttachmentDefinition: lower-case letters, digits, "-" and "."');
const namespace = text(namespaceName, 'the name of a namespace: lower-case letters, digits and "-"', 63);
const interfaceRequest = text(interfaceName, 'an interface name: 1 to 15 characters without space, "/", ":" or "%"');
const ipAddress = check(parseIP, 'an IP address');
const ipRequest = check((value) => (value.includes('/') ? parsePrefix(value) : parseIP(value)), 'an IP address');
const macAddress = text(/^([0-9a-f]{2}[:-]){5}([0-9a-f]{2})$/i, 'a MAC address such as 02:00:5e:10:00:01');
const guid = text(
  /^([0-9a-f]{2}:){7}[0-9a-f]{2}$/i,
  'an InfiniBand GUID of eight bytes such as 24:8a:07:03:00:8d:ae:2e',
);
const object = z.custom<JsonObject>(isJsonObject, { error: 'expected an object' });
const port = z.int().min(1).max(65535);

const portMapping = z
  .object({
    hostPort: port,
    containerPort: port,
    protocol: z
      .string()
      .regex(/^(tcp|udp|sctp)$/i, 'expected tcp, udp or sctp')
      .optional(),
    hostIP: ipAddress.or(z.literal('')).optional(),
  })
  .catchall(z.json());

const rate = z.int().min(0);
const bandwidth = z
  .object({ ingressRate: rate, ingressBurst: rate, egressRate: rate, egressBurst: rate })
  .partial()
  .catchall(z.json())
  .refine((value) => !value.ingressBurst || value.ingressRate, { path: ['ingressRate'], error: 'a burst needs a rate' })
  .refine((value) => !value.egressBurst || value.egressRate, { path: ['egressRate'], error: 'a burst needs a rate' });

const element = z.looseObject({
  name,
  namespace: namespace.or(z.literal('')).optional(),
  interface: interfaceRequest.or(z.literal('')).optional(),
  /** The name that `interface` had before the specification; Multus still reads it. */
  interfaceRequest: interfaceRequest.or(z.literal('')).optional(),
  ips: z.array(ipRequest).max(32).optional(),
  mac: macAddress.or(z.literal('')).optional(),
  'infiniband-guid': guid.or(z.literal('')).optional(),
  portMappings: z.array(portMapping).max(256).optional(),
  bandwidth: bandwidth.optional(),
  deviceID: z.string().max(255).optional(),
  'device-id': z.string().max(255).optional(),
  'cni-args': object.nullable().optional(),
  'default-route': z.array(ipAddress).max(2).optional(),
  'ipam-claim-reference': name.or(z.literal('')).optional(),
});

/**
 * Reads the networks annotation, in its comma form (`ns/name@interface, ...`) or its JSON form.
 *
 * @param podNamespace Where a network is looked for that names no namespace.
 * @throws {SelectionError}
 */
export function parseNetworks(annotation: string, podNamespace: string): NetworkSelection[] {
  return within(networksAnnotation, () => {
    const selections = parseSelections(annotation, podNamespace);
    const both = selections.findIndex(({ ips, ipamClaim }) => ipamClaim && ips?.length);
    if (both !== -1) fail(`[${both}]`, '"ips" and "ipam-claim-reference" exclude each other');
    return selections;
  });
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
  return within(defaultNetworkAnnotation, () => {
    const [selection, ...more] = parseSelections(annotation, namespace);
    if (selection === undefined || more.length > 0) {
      fail('', `expected exactly one network, found ${selection === undefined ? 'none' : more.length + 1}`);
    }
    return selection;
  });
}

function parseSelections(annotation: string, defaultNamespace: string): NetworkSelection[] {
  if (annotation.length > maxAnnotationLength) fail('', `longer than ${maxAnnotationLength} characters`);
  if (annotation.trim() === '') return [];
  const selections = /[[{"]/.test(annotation)
    ? parseJsonForm(annotation, defaultNamespace)
    : parseCommaForm(annotation, defaultNamespace);
  if (selections.length > maxElements) fail('', `${selections.length} networks, at most ${maxElements} are allowed`);
  return selections;
}

/** Says in which annotation a problem is. */
function within<T>(annotation: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SelectionError)) throw error;
    throw new SelectionError(`annotation ${annotation}: ${error.message}`);
  }
}

function parseCommaForm(annotation: string, podNamespace: string): NetworkSelection[] {
  const items = annotation.split(',').map((item, index) => parseItem(item.trim(), index, podNamespace));
  const problems = items.filter((item) => typeof item === 'string');
  if (problems.length > 0) fail('', problems.join('; '));
  return items.filter((item) => typeof item !== 'string');
}

/** @returns What is wrong with it, where it cannot be followed. */
function parseItem(item: string, index: number, podNamespace: string): NetworkSelection | string {
  const where = `item ${index + 1}, "${item}"`;
  const shape = /^(?:([^/@]*)\/)?([^/@]*)(?:@([^/@]*))?$/.exec(item);
  if (shape === null) return `${where}: expected [namespace/]name[@interface]`;
  const [, ns, itemName, ifName] = shape;
  const parsed = z
    .object({ namespace: namespace.optional(), name, interface: interfaceRequest.optional() })
    .safeParse({ namespace: ns, name: itemName, interface: ifName });
  if (!parsed.success) return `${where}: ${describe(parsed.error)}`;
  return { ...parsed.data, namespace: parsed.data.namespace ?? podNamespace };
}

function parseJsonForm(annotation: string, podNamespace: string): NetworkSelection[] {
  let json: unknown;
  try {
    json = JSON.parse(annotation);
  } catch (error) {
    fail('', `not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const parsed = z.array(element, { error: 'expected a list of network selection elements' }).safeParse(json);
  if (!parsed.success) fail('', describe(parsed.error));
  return parsed.data.map((item) => {
    return {
      namespace: item.namespace || podNamespace,
      name: item.name,
      interface: item.interface || item.interfaceRequest || undefined,
      ips: item.ips,
      mac: item.mac?.toLowerCase().replaceAll('-', ':') || undefined,
      infinibandGuid: item['infiniband-guid'] || undefined,
      portMappings: item.portMappings,
      bandwidth: item.bandwidth,
      deviceId: item.deviceID || item['device-id'] || undefined,
      ipamClaim: item['ipam-claim-reference'] || undefined,
      cniArgs: item['cni-args'] ?? undefined,
      defaultRoute: item['default-route'],
    };
  });
}

function describe(error: z.ZodError): string {
  return error.issues
    .map(({ path, message }) => (path.length > 0 ? `${pathText(path)}: ${message}` : message))
    .join('; ');
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i > 0 ? '.' : ''}${String(key)}`)).join('');
}

function succeeds(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch {
    return false;
  }
}

function fail(where: string, problem: string): never {
  throw new SelectionError(`${where === '' ? '' : `${where}: `}${problem}`);
}
