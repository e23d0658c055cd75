import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../cni/json.ts';
import { interfaceNameProblem } from '../cni/validate.ts';
import { type IP, parseIP, parsePrefix } from '../net/ip.ts';
import { deviceIdForm, isDeviceId } from './device-id.ts';

/* The network selection element: specification v1.3, section 4.1.2.1. Each key is a heading of that section. */

/** What Kubernetes takes as the name of a custom resource: a DNS-1123 subdomain. */
const resourceName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** What Kubernetes takes as the name of a namespace: a DNS-1123 label. */
const namespaceName = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

const text = (isRight: (value: string) => boolean, expected: string) =>
  z.string(`expected ${expected}`).refine(isRight, { error: `expected ${expected}` });

/** Go leaves out what is empty, and takes what is empty for left out. */
const optional = (isRight: (value: string) => boolean, expected: string) =>
  text((value) => value === '' || isRight(value), expected)
    .transform((value) => value || undefined)
    .optional();

const nameForm = 'the name of a NetworkAttachmentDefinition: lower-case letters, digits, "-" and "."';
const isName = (value: string): boolean => value.length <= 253 && resourceName.test(value);

export const name = text(isName, nameForm);
export const namespace = optional(
  (value) => value.length <= 63 && namespaceName.test(value),
  'the name of a namespace: lower-case letters, digits and "-"',
);
/** `%` would make the kernel choose a number; what cannot be seen would let two names look like one. */
export const interfaceName = optional(
  (value) => interfaceNameProblem(value) === undefined && !/[%\p{C}]/u.test(value),
  'an interface name: 1 to 15 bytes without space, "/", ":" or "%"',
);

const isAddress = (value: string): boolean => ipOf(value) !== undefined;
const address = text(isAddress, 'an IP address such as 10.0.0.2 or fd00::2');
const addressRequest = text(
  (value) => isAddress(value) || prefixOf(value) !== undefined,
  'an IP address such as 10.0.0.2, fd00::2 or 10.0.0.2/24',
);

/** A hardware address of so many bytes, in any of the notations that Go's net.ParseMAC takes: with ":", "-" or dots. */
function isHardwareAddress(value: string, bytes: number): boolean {
  const separated = new RegExp(`^[0-9a-f]{2}([:-])([0-9a-f]{2}\\1){${bytes - 2}}[0-9a-f]{2}$`, 'i');
  const dotted = new RegExp(`^([0-9a-f]{4}\\.){${bytes / 2 - 1}}[0-9a-f]{4}$`, 'i');
  return separated.test(value) || dotted.test(value);
}

const withColons = (value: string | undefined): string | undefined =>
  value
    ?.toLowerCase()
    .replace(/[^0-9a-f]/g, '')
    .replace(/..(?!$)/g, '$&:');

const macBytes = 6;
/** IP over InfiniBand (RFC 4391, section 9.1.1). */
const infinibandBytes = 20;
const guidBytes = 8;

/** No interface can have a group's address, or none at all. */
const isOwnMac = (value: string): boolean =>
  isHardwareAddress(value, macBytes) && !/^.[13579bdf]/i.test(value) && /[1-9a-f]/i.test(value);

const mac = optional(
  (value) => isOwnMac(value) || isHardwareAddress(value, infinibandBytes),
  'the MAC address of one interface, such as 02:00:5e:10:00:01',
).transform(withColons);

const guid = optional(
  (value) => isHardwareAddress(value, guidBytes),
  'an InfiniBand GUID of eight bytes such as 24:8a:07:03:00:8d:ae:2e',
).transform(withColons);

const expectedPort = 'expected a port from 1 to 65535';
const port = z.int(expectedPort).min(1, expectedPort).max(65535, expectedPort);

const portMapping = z
  .object({
    hostPort: port,
    containerPort: port,
    /** Nothing means TCP, which plugins expect to be told. */
    protocol: z
      .string('expected tcp, udp or sctp')
      .regex(/^(tcp|udp|sctp)?$/i, 'expected tcp, udp or sctp')
      .default('tcp')
      .transform((value) => value || 'tcp'),
    hostIP: text((value) => value === '' || isAddress(value), 'an IP address of the node').optional(),
  })
  .catchall(z.json());

const expectedRate = 'expected a whole number of bits, and of bits per second for a rate';
const rate = z.int(expectedRate).min(0, expectedRate);
const needsRate = 'a burst needs a rate: add it, in bits per second, or remove the burst';
const bandwidth = z
  .object({ ingressRate: rate, ingressBurst: rate, egressRate: rate, egressBurst: rate })
  .partial()
  .catchall(z.json())
  .refine((value) => !value.ingressBurst || value.ingressRate, { path: ['ingressRate'], error: needsRate })
  .refine((value) => !value.egressBurst || value.egressRate, { path: ['egressRate'], error: needsRate });

const deviceId = optional(isDeviceId, deviceIdForm);

const oneForEachFamily = (addresses: readonly string[]): boolean => {
  const families = addresses.map((each) => ipOf(each)?.family);
  return new Set(families).size === families.length;
};

export const selectionElement = z
  .looseObject({
    name,
    namespace,
    interface: interfaceName,
    /** The name that `interface` had before the specification; Multus still reads it. */
    interfaceRequest: interfaceName,
    ips: z
      .array(addressRequest, 'expected a list of IP addresses')
      .max(32, 'expected at most 32 IP addresses')
      .optional(),
    mac,
    'infiniband-guid': guid,
    portMappings: z.array(portMapping, 'expected a list of port mappings').max(256, 'expected at most 256').optional(),
    bandwidth: bandwidth.optional(),
    /** Multus' spelling, and that of the specification. */
    deviceID: deviceId,
    'device-id': deviceId,
    'cni-args': z.custom<JsonObject>(isJsonObject, { error: 'expected an object' }).optional(),
    'default-route': z
      .array(address, 'expected a list of gateways')
      .refine(oneForEachFamily, { error: 'expected at most one gateway for IPv4 and one for IPv6' })
      .optional(),
    'ipam-claim-reference': optional(isName, 'the name of an IPAMClaim: lower-case letters, digits, "-" and "."'),
  })
  .refine((element) => !element.deviceID || !element['device-id'] || element.deviceID === element['device-id'], {
    path: ['device-id'],
    error: 'expected what "deviceID" says, which means the same',
  });

function ipOf(value: string): IP | undefined {
  try {
    return parseIP(value);
  } catch {
    return undefined;
  }
}

function prefixOf(value: string): ReturnType<typeof parsePrefix> | undefined {
  try {
    return parsePrefix(value);
  } catch {
    return undefined;
  }
}
