import type { Link } from '../linux/link.ts';
import type { LinkKind } from '../linux/link-kind.ts';
import { mainTable, type Route, Scope } from '../linux/route.ts';
import {
  contains,
  equalIP,
  formatIP,
  formatPrefix,
  hostPrefix,
  networkOf,
  type Prefix,
  parsePrefix,
} from '../net/ip.ts';
import type { NamespaceView } from './namespace-view.ts';

/** One interface of a pod and where it leads, as far as a drawing shows it. */
export interface DrawnInterface {
  readonly name: string;
  /** `address/length`. */
  readonly addresses: readonly string[];
  /** What kind of link it is: `ipvlan l2`, `veth`. */
  readonly kind: string;
  /** Interfaces of the node that it goes through, from the pod outwards. None for a device of the pod's own. */
  readonly hops: readonly string[];
  /** The network, by the name that network-status has. */
  readonly network: string;
  /** What is known of the network, a line each: subnets, routes. */
  readonly facts: readonly string[];
  /** False for what no frame ever leaves, such as a dummy. */
  readonly connected: boolean;
}

/** An interface of a pod, and the network that it was made for. */
export interface NamedInterface {
  readonly name: string;
  readonly network: string;
  /** Whether it is the one that every pod has, to the API server, kubelet and services. */
  readonly isDefault: boolean;
  /** The type of the plugin: what to call a link that the kernel has no kind for. */
  readonly plugin: string;
}

/**
 * Follows the interfaces of a pod to where they lead.
 *
 * @returns What there is of them, in their order.
 */
export function followInterfaces(
  inPod: NamespaceView,
  onNode: NamespaceView,
  interfaces: readonly NamedInterface[],
): DrawnInterface[] {
  return interfaces.flatMap((each) => {
    const link = inPod.links.find(({ name }) => name === each.name);
    return link === undefined ? [] : [drawn(each, link, inPod, onNode)];
  });
}

function drawn(
  { name, network, isDefault, plugin }: NamedInterface,
  link: Link,
  inPod: NamespaceView,
  onNode: NamespaceView,
): DrawnInterface {
  const own = inPod.addresses
    .filter(({ index, scope }) => index === link.index && scope !== Scope.link)
    .map(({ address }) => address);
  const hops = hopsOf(link, inPod, onNode);
  const leads = routeFacts(
    inPod.routes.filter(({ index, table }) => index === link.index && table === mainTable),
    own,
  );
  return {
    name,
    network,
    addresses: own.map(formatPrefix),
    kind: describeKind(link, plugin),
    hops,
    facts: [...new Set([...(isDefault ? ['cluster network'] : []), ...own.flatMap(subnetOf), ...leads])],
    connected: hops.length > 0 || !loneKinds.has(link.kind ?? ''),
  };
}

/** Kinds of links that end in the pod: a frame sent there is dropped, or read by a program. */
const loneKinds: ReadonlySet<string> = new Set(['dummy', 'ifb', 'tun']);

/** The node's interfaces behind a link, from the pod outwards. */
function hopsOf(link: Link, inPod: NamespaceView, onNode: NamespaceView): string[] {
  const hops: string[] = [];
  const seen = new Set<Link>();
  let view = inPod;
  for (let at = link; ; ) {
    seen.add(at);
    const next = nextOf(at, view, inPod, onNode);
    if (next === undefined || seen.has(next.link)) return hops;
    ({ link: at, view } = next);
    if (view === onNode) hops.push(at.name);
  }
}

interface Hop {
  readonly link: Link;
  readonly view: NamespaceView;
}

/** What a link is a port of or stands on; for one end of a veth, the other end. */
function nextOf(link: Link, view: NamespaceView, inPod: NamespaceView, onNode: NamespaceView): Hop | undefined {
  const find = (where: NamespaceView, index: number | undefined): Hop | undefined => {
    const found = where.links.find((each) => each.index === index);
    return found && { link: found, view: where };
  };
  if (link.master !== undefined) return find(view, link.master);
  if (link.parent === undefined) return undefined;
  if (link.parentNamespaceId === undefined) return link.kind === 'veth' ? undefined : find(view, link.parent);
  // Of the node's own links, those that lead out of it end the way.
  if (view !== inPod) return undefined;
  const found = find(onNode, link.parent);
  const isPair = found?.link.kind === 'veth' && found.link.parent === link.index;
  return link.kind === 'veth' && !isPair ? undefined : found;
}

function describeKind({ kind, data }: Link, plugin: string): string {
  return data === undefined ? (kind ?? plugin) : describeData(data);
}

function describeData(data: LinkKind): string {
  switch (data.type) {
    case 'macvlan':
    case 'macvtap':
      return `${data.type} ${data.mode}`;
    case 'ipvlan':
      return data.flag === 'bridge' ? `ipvlan ${data.mode}` : `ipvlan ${data.mode} ${data.flag}`;
    case 'vlan':
    case 'vxlan':
      return `${data.type} ${data.id}`;
    default:
      return data.type;
  }
}

/** The network that an address is in; none for an address that stands alone. */
function subnetOf(address: Prefix): string[] {
  const isAlone = address.length === hostPrefix(address.ip).length;
  return isAlone ? [] : [formatPrefix({ ip: networkOf(address), length: address.length })];
}

/** What an interface's routes add to its addresses' own networks. */
function routeFacts(all: readonly Route[], own: readonly Prefix[]): string[] {
  const gateways = all.flatMap(({ gateway }) => gateway ?? []);
  return all.flatMap(({ destination, gateway, family }) => {
    if (destination === undefined) return family === 6 ? ['default route, IPv6'] : ['default route'];
    const isOwn = own.some((address) => address.length === destination.length && contains(address, destination.ip));
    const isLinkLocal = family === 6 && contains(linkLocal, destination.ip);
    // The way to a gateway says nothing more than the route through it.
    const isWay = gateway === undefined && gateways.some((each) => equalIP(each, destination.ip));
    if (isOwn || isLinkLocal || isWay) return [];
    return [`${formatPrefix(destination)}${gateway === undefined ? '' : ` via ${formatIP(gateway)}`}`];
  });
}

const linkLocal = parsePrefix('fe80::/10');
