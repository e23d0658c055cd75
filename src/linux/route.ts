import { formatIP, hostPrefix, type IP, type Prefix } from '../net/ip.ts';
import { AF_UNSPEC, familyCode, familyOf, formatDestination } from './family.ts';
import { ipOf } from './link-kind.ts';
import { type Attribute, Attributes, bytes, nested, u32 } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from './netlink/message.ts';
import { change, dump, get, type Request } from './netlink/request.ts';

/* Routes: struct rtmsg, RTA_* and RTAX_* of linux/rtnetlink.h, rtnetlink(7). */

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_VIA = 18;

const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;

/** enum rt_class_t */
export const mainTable = 254;
/** rtm_protocol: made by hand, which is what `ip route` and the containernetworking plugins leave there. */
const RTPROT_BOOT = 3;
/** The kernel's own, such as the route of an address' network. */
const RTPROT_KERNEL = 2;
const RTN_UNICAST = 1;
const RTM_F_CLONED = 0x200;
const RTNH_F_ONLINK = 4;

/** enum rt_scope_t: how far away a destination is. */
export const Scope = { universe: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const;

/** A unicast route with one way to go: of a route of IPv4 with several, the first. In IPv6, each way is a route. */
export interface Route {
  readonly family: 4 | 6;
  /** Undefined: the default route. Of the route's family, as `source`. */
  readonly destination?: Prefix | undefined;
  /** For IPv4, one of IPv6 will do (RFC 8950). */
  readonly gateway?: IP | undefined;
  /** Index of the interface. */
  readonly index?: number | undefined;
  /** The address to send from. */
  readonly source?: IP | undefined;
  /** Default: {@link mainTable}. */
  readonly table?: number | undefined;
  /** Smaller comes first. The kernel takes 0 for IPv4 and 1024 for IPv6 unless told. */
  readonly priority?: number | undefined;
  /** Default: link without a gateway for IPv4, else universe. */
  readonly scope?: number | undefined;
  readonly mtu?: number | undefined;
  readonly advmss?: number | undefined;
  /** The gateway counts as reachable on the link whatever the addresses say. */
  readonly onLink?: boolean | undefined;
  /** rtm_protocol: who made it. */
  readonly protocol?: number | undefined;
}

export interface RouteFilter {
  readonly family?: 4 | 6 | undefined;
  readonly index?: number | undefined;
  readonly table?: number | undefined;
}

export const routes = {
  /** The unicast routes, those of the kernel's own caches left out. */
  list({ family, index, table }: RouteFilter = {}): Request<readonly Route[]> {
    const code = family === undefined ? AF_UNSPEC : familyCode(family);
    return dump('list routes', RTM_GETROUTE, [header({ family: code })], (payload) => {
      return decodeRoutes(payload).filter(
        (route) =>
          (family === undefined || route.family === family) &&
          (index === undefined || route.index === index) &&
          (table === undefined || route.table === table),
      );
    });
  },

  /** The index of the interface by which the namespace reaches an address; ENETUNREACH when there is no way. */
  interfaceTowards(destination: IP): Request<number | undefined> {
    const to = header({ family: familyCode(destination.family), length: hostPrefix(destination).length });
    return get(
      `find the way to ${formatIP(destination)}`,
      RTM_GETROUTE,
      [to, bytes(RTA_DST, destination.bytes)],
      (payload) => Attributes.decode(payload.subarray(12)).u32(RTA_OIF),
    );
  },

  /** EEXIST when there is such a route by the same way. */
  add(route: Route): Request<void> {
    return change(describe('add', route), RTM_NEWROUTE, NLM_F_CREATE, encodeRoute(route));
  },

  /** EEXIST when there is a route to the destination by any way. */
  addExclusive(route: Route): Request<void> {
    return change(describe('add', route), RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, encodeRoute(route));
  },

  /** Adds it, in the place of the one to the same destination of the same priority. */
  replace(route: Route): Request<void> {
    return change(describe('set', route), RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, encodeRoute(route));
  },

  /** ESRCH when there is none. */
  delete(route: Route): Request<void> {
    // Scope nowhere matches every scope (fib_table_delete); a protocol given would have to match.
    const { scope = Scope.nowhere, protocol = 0 } = route;
    return change(describe('delete', route), RTM_DELROUTE, 0, encodeRoute({ ...route, scope, protocol }));
  },
};

/** Whether the kernel made a route by itself, from an address. */
export const isKernelRoute = ({ protocol }: Route): boolean => protocol === RTPROT_KERNEL;

function describe(verb: string, { destination, gateway, index }: Route): string {
  const via = gateway === undefined ? '' : ` via ${formatIP(gateway)}`;
  const device = index === undefined ? '' : ` on interface number ${index}`;
  return `${verb} route ${formatDestination(destination)}${via}${device}`;
}

interface Header {
  readonly family: number;
  readonly length?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly flags?: number;
}

/** struct rtmsg */
function header({ family, length = 0, table = 0, protocol = 0, scope = 0, type = 0, flags = 0 }: Header): Buffer {
  const buffer = Buffer.alloc(12);
  buffer.set([family, length, 0, 0, table < 256 ? table : 0, protocol, scope, type]);
  buffer.writeUInt32LE(flags, 8);
  return buffer;
}

/** @throws {Error} when an address is of another family: the kernel would take the first bytes of it for one of its own. */
function encodeRoute(route: Route): Buffer[] {
  const { family, destination, gateway, index, source, table = mainTable, priority, mtu, advmss, onLink } = route;
  const near = gateway === undefined && family === 4 ? Scope.link : Scope.universe;
  const metrics: Attribute[] = [];
  if (mtu !== undefined) metrics.push(u32(RTAX_MTU, mtu));
  if (advmss !== undefined) metrics.push(u32(RTAX_ADVMSS, advmss));
  for (const ip of [destination?.ip, source]) {
    if (ip !== undefined && ip.family !== family) throw new Error(`${formatIP(ip)} in a route of IPv${family}`);
  }
  const attributes: Attribute[] = [u32(RTA_TABLE, table)];
  if (destination !== undefined) attributes.push(bytes(RTA_DST, destination.ip.bytes));
  if (gateway !== undefined) attributes.push(encodeGateway(family, gateway));
  if (index !== undefined) attributes.push(u32(RTA_OIF, index));
  if (source !== undefined) attributes.push(bytes(RTA_PREFSRC, source.bytes));
  if (priority !== undefined) attributes.push(u32(RTA_PRIORITY, priority));
  if (metrics.length > 0) attributes.push(nested(RTA_METRICS, metrics));
  return [
    header({
      family: familyCode(family),
      length: destination?.length ?? 0,
      table,
      protocol: route.protocol ?? RTPROT_BOOT,
      scope: route.scope ?? near,
      type: RTN_UNICAST,
      flags: onLink ? RTNH_F_ONLINK : 0,
    }),
    ...attributes,
  ];
}

function decodeRoutes(payload: Buffer): readonly Route[] {
  const family = familyOf(payload.readUInt8(0));
  const flags = payload.readUInt32LE(8);
  const type = payload.readUInt8(7);
  if (family === undefined || type !== RTN_UNICAST || (flags & RTM_F_CLONED) !== 0) return [];
  const attributes = Attributes.decode(payload.subarray(12));
  const length = payload.readUInt8(1);
  const destination = ipOf(attributes.bytes(RTA_DST));
  if (destination !== undefined && destination.family !== family) return [];
  const [first, ...others] = hopsOf(attributes.bytes(RTA_MULTIPATH));
  const metrics = attributes.nested(RTA_METRICS);
  const route = {
    family,
    destination: destination && length > 0 ? { ip: destination, length } : undefined,
    gateway: decodeGateway(attributes) ?? first?.gateway,
    index: attributes.u32(RTA_OIF) ?? first?.index,
    source: ipOf(attributes.bytes(RTA_PREFSRC)),
    table: attributes.u32(RTA_TABLE) ?? payload.readUInt8(4),
    priority: attributes.u32(RTA_PRIORITY),
    scope: payload.readUInt8(6),
    mtu: metrics?.u32(RTAX_MTU),
    advmss: metrics?.u32(RTAX_ADVMSS),
    onLink: (flags & RTNH_F_ONLINK) !== 0 || first?.onLink === true,
    protocol: payload.readUInt8(5),
  };
  // The kernel tells of all ways of IPv6 to one destination together, though each was made, and can be deleted, alone.
  return family === 6 ? [route, ...others.map((hop) => ({ ...route, ...hop }))] : [route];
}

/** struct rtvia: a family of two bytes, then the address. */
function encodeGateway(family: 4 | 6, gateway: IP): Attribute {
  if (gateway.family === family) return bytes(RTA_GATEWAY, gateway.bytes);
  if (family === 6) throw new Error(`a route of IPv6 cannot lead through ${formatIP(gateway)}`);
  return bytes(RTA_VIA, Uint8Array.of(familyCode(gateway.family), 0, ...gateway.bytes));
}

function decodeGateway(attributes: Attributes): IP | undefined {
  return ipOf(attributes.bytes(RTA_GATEWAY)) ?? ipOf(attributes.bytes(RTA_VIA)?.subarray(2));
}

type Hop = Pick<Route, 'gateway' | 'index' | 'onLink'>;

const hopHeaderLength = 8;

/** The ways of a route with several: each a struct rtnexthop of linux/rtnetlink.h, with its attributes behind it. */
function hopsOf(multipath: Buffer | undefined): readonly Hop[] {
  const hops: Hop[] = [];
  for (let rest = multipath; rest !== undefined && rest.length >= hopHeaderLength; ) {
    const length = Math.min(rest.readUInt16LE(0), rest.length);
    if (length < hopHeaderLength) break;
    hops.push({
      index: rest.readInt32LE(4),
      gateway: decodeGateway(Attributes.decode(rest.subarray(hopHeaderLength, length))),
      onLink: (rest.readUInt8(2) & RTNH_F_ONLINK) !== 0,
    });
    // RTNH_ALIGN
    rest = rest.subarray((length + 3) & ~3);
  }
  return hops;
}
