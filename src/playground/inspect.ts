import { addresses, type InterfaceAddress } from '../linux/address.ts';
import { type Link, links } from '../linux/link.ts';
import type { LinkKind } from '../linux/link-kind.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { mainTable, type Route, routes, Scope } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
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
import type { DrawnInterface } from './drawing.ts';

/** What a namespace has, as the kernel tells. */
interface View {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly Route[];
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
 * @param netns The pod's namespace.
 * @returns What there is of them, in their order.
 * @throws {KernelError}
 */
export async function followInterfaces(
  netns: string,
  node: NetworkNamespace,
  interfaces: readonly NamedInterface[],
): Promise<DrawnInterface[]> {
  using pod = NetworkNamespace.open(netns);
  const [inPod, onNode] = await Promise.all([viewOf(pod), viewOf(node)]);
  return interfaces.flatMap((each) => {
    const link = inPod.links.find(({ name }) => name === each.name);
    return link === undefined ? [] : [drawn(each, link, inPod, onNode)];
  });
}

async function viewOf(namespace: NetworkNamespace): Promise<View> {
  using netlink = Rtnetlink.open(namespace);
  const [allLinks, allAddresses, allRoutes] = await netlink.run(links.list(), addresses.list(), routes.list());
  return { links: allLinks, addresses: allAddresses, routes: allRoutes };
}

function drawn(
  { name, network, isDefault, plugin }: NamedInterface,
  link: Link,
  inPod: View,
  onNode: View,
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
function hopsOf(link: Link, inPod: View, onNode: View): string[] {
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
  readonly view: View;
}

/** What a link is a port of or stands on; for one end of a veth, the other end. */
function nextOf(link: Link, view: View, inPod: View, onNode: View): Hop | undefined {
  const find = (where: View, index: number | undefined): Hop | undefined => {
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
