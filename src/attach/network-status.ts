import type { JsonObject } from '../cni/json.ts';
import type { Result, ResultIP } from '../cni/result.ts';
import type { NetworkStatus } from '../kubernetes/status.ts';
import { gatewayOf, isDefaultRoute } from './default-route.ts';
import type { PodLink } from './pod-links.ts';

export interface AttachedNetwork {
  /** `namespace/name`, or the name of the default network's configuration. */
  readonly network: string;
  readonly ifName: string;
  readonly isDefault: boolean;
  /** Whether it is the auxiliary chain. */
  readonly isAuxiliary?: boolean | undefined;
  /** With the default routes that the pod has in the end: see withDefaultRoutes(). */
  readonly result: Result;
  /** What is told of its device (device information specification 1.1.0, section 6). */
  readonly deviceInfo?: JsonObject | undefined;
}

/** Whether an attachment has an interface that can be told of: an auxiliary chain has one only where a plugin made it. */
export const hasInterface = ({ isAuxiliary, result }: Pick<AttachedNetwork, 'isAuxiliary' | 'result'>): boolean =>
  !isAuxiliary || result.interfaces.some(({ sandbox }) => sandbox);

/**
 * One entry for each interface that the network really has in the pod, the attachment's own first.
 *
 * A result may name interfaces that are not there: the host's end of a veth, or aws-cni's `dummy...`, which never
 * exists. Its "mac" may be anything: aws-cni puts a route table's number there. So the kernel is asked, not the result;
 * but for an interface that the kernel does not have, such as one that a program in the pod drives.
 *
 * @param links The pod's interfaces by name, as the kernel has them.
 */
export function networkStatus(attached: AttachedNetwork, links: ReadonlyMap<string, PodLink>): NetworkStatus[] {
  if (!hasInterface(attached)) return [];
  const { result, network, ifName, isDefault, deviceInfo } = attached;
  const inPod = result.interfaces.flatMap(({ name, sandbox }, index) =>
    sandbox && links.has(name) ? [{ name, index }] : [],
  );
  const interfaces =
    inPod.length > 0
      ? inPod.toSorted((a, b) => Number(b.name === ifName) - Number(a.name === ifName))
      : [{ name: ifName, index: undefined }];
  const gateways = defaultGateways(result);
  return interfaces.map(({ name, index }, place) => {
    const link = links.get(name);
    // Of a network whose result does not have the interface that was asked for, the first is the attachment's own.
    const own = place === 0;
    const mac = link === undefined ? statedMac(result, name) : link.mac;
    const ips = result.ips
      .filter((ip) => belongs(ip, index, own))
      .map(({ address }) => address.split('/')[0] ?? address);
    return {
      name: network,
      interface: name,
      ...(ips.length > 0 && { ips }),
      ...(mac && { mac }),
      ...(link && { mtu: link.mtu }),
      ...(isDefault && own && { default: true }),
      dns: dns(result),
      ...(own && deviceInfo && { 'device-info': deviceInfo }),
      ...(own && gateways.length > 0 && { gateway: gateways }),
    };
  });
}

/** An address without an interface, as results before 0.3.0 have it, is the attachment's own (section 5.3.3.1). */
function belongs({ interface: stated = -1 }: ResultIP, index: number | undefined, own: boolean): boolean {
  return stated < 0 || index === undefined ? own : stated === index;
}

function statedMac({ interfaces }: Result, name: string): string | undefined {
  const mac = interfaces.find((each) => each.name === name && each.sandbox)?.mac;
  return mac && /^([0-9a-f]{2}:){5}([0-9a-f]{2})$/i.test(mac) ? mac.toLowerCase() : undefined;
}

/** The gateways of a result's default routes; where such a route names none, the address's own gateway. */
function defaultGateways(result: Result): string[] {
  const gateways = result.routes.filter(isDefaultRoute).flatMap((route) => gatewayOf(route, result) ?? []);
  return [...new Set(gateways)];
}

function dns({ dns }: Result): NetworkStatus['dns'] {
  return {
    ...(dns.nameservers?.length && { nameservers: dns.nameservers }),
    ...(dns.domain && { domain: dns.domain }),
    ...(dns.search?.length && { search: dns.search }),
    ...(dns.options?.length && { options: dns.options }),
  };
}
