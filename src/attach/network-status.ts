import type { Result, ResultIP, ResultRoute } from '../cni/result.ts';
import type { NetworkStatus } from '../kubernetes/status.ts';
import type { PodLink } from './pod-links.ts';

export interface AttachedNetwork {
  /** `namespace/name`, or the name of the default network's configuration. */
  readonly network: string;
  readonly ifName: string;
  readonly isDefault: boolean;
  readonly result: Result;
  /** Gateways that the pod asked for by `default-route`; they replace those of the result. */
  readonly defaultRoute?: readonly string[] | undefined;
}

/**
 * One entry for each interface that the network really has in the pod, the attachment's own first.
 *
 * A result may name interfaces that are not there: the host's end of a veth, or aws-cni's `dummy...`, which never
 * exists. Its "mac" may be anything: aws-cni puts a route table's number there. So the kernel is asked, not the result.
 *
 * @param links The pod's interfaces by name, as the kernel has them.
 */
export function networkStatus(attached: AttachedNetwork, links: ReadonlyMap<string, PodLink>): NetworkStatus[] {
  const { result, network, ifName, isDefault } = attached;
  const inPod = result.interfaces.flatMap(({ name, sandbox }, index) =>
    sandbox && links.has(name) ? [{ name, index }] : [],
  );
  const interfaces = inPod.length > 0 ? inPod : [{ name: ifName, index: undefined }];
  const gateways = attached.defaultRoute?.length ? attached.defaultRoute : defaultGateways(result);
  return interfaces.map(({ name, index }) => {
    const link = links.get(name);
    const own = name === ifName;
    const ips = result.ips
      .filter((ip) => belongs(ip, index, own))
      .map(({ address }) => address.split('/')[0] ?? address);
    return {
      name: network,
      interface: name,
      ...(ips.length > 0 && { ips }),
      ...(link?.mac && { mac: link.mac }),
      ...(link && { mtu: link.mtu }),
      ...(isDefault && own && { default: true }),
      dns: dns(result),
      ...(own && gateways.length > 0 && { gateway: gateways }),
    };
  });
}

/** An address without an interface, as results before 0.3.0 have it, is the attachment's own. */
function belongs(ip: ResultIP, index: number | undefined, own: boolean): boolean {
  return ip.interface === undefined || index === undefined ? own : ip.interface === index;
}

const isDefaultRoute = ({ dst }: ResultRoute): boolean => dst === '0.0.0.0/0' || dst === '::/0';

/** The gateways of a result's default routes; where such a route names none, the address's own gateway. */
function defaultGateways(result: Result): string[] {
  const gateways = result.routes.filter(isDefaultRoute).flatMap(({ dst, gw }) => {
    const sameFamily = (ip: ResultIP) => ip.address.includes(':') === dst.includes(':');
    return gw ?? result.ips.find((ip) => ip.gateway && sameFamily(ip))?.gateway ?? [];
  });
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
