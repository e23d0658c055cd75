import type { IP } from '../net/ip.ts';
import type { LinkSettings } from './link.ts';
import { type Attribute, Attributes, be16, bytes, nested, text, u8, u16, u32 } from './netlink/attribute.ts';

/* What the kinds of link have of their own: IFLA_LINKINFO of linux/if_link.h. */

const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;

/** linux/veth.h */
const VETH_INFO_PEER = 1;

const IFLA_MACVLAN_MODE = 1;
const IFLA_MACVLAN_BC_QUEUE_LEN = 7;
const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
export type MacvlanMode = keyof typeof macvlanModes;

const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;
const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;
export type IpvlanMode = keyof typeof ipvlanModes;
const ipvlanFlags = { bridge: 0, private: 1, vepa: 2 } as const;
export type IpvlanFlag = keyof typeof ipvlanFlags;

const IFLA_VLAN_ID = 1;
const IFLA_VLAN_PROTOCOL = 5;
const ETH_P_8021Q = 0x8100;
const IFLA_BR_VLAN_FILTERING = 7;
const IFLA_BR_VLAN_DEFAULT_PVID = 39;
const IFLA_VRF_TABLE = 1;

const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_GROUP = 2;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_TTL = 5;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_GROUP6 = 16;
const IFLA_VXLAN_LOCAL6 = 17;

/**
 * The other end of a new veth. It cannot be up from the start: the kernel refuses while it has no peer yet (veth_open).
 * Nor can it be a port: the kernel makes it without a look at its master (veth_newlink).
 */
export type VethPeer = Omit<LinkSettings, 'up' | 'master' | 'parent'> & { readonly name: string };

export type LinkKind =
  | { readonly type: 'veth'; readonly peer?: VethPeer }
  | {
      readonly type: 'bridge';
      readonly vlanFiltering?: boolean | undefined;
      /** The VLAN that new ports are in; 0 for none. */
      readonly defaultVlan?: number | undefined;
    }
  | { readonly type: 'macvlan' | 'macvtap'; readonly mode: MacvlanMode; readonly bcQueueLength?: number | undefined }
  | { readonly type: 'ipvlan'; readonly mode: IpvlanMode; readonly flag: IpvlanFlag }
  | { readonly type: 'vlan'; readonly id: number }
  | {
      readonly type: 'vxlan';
      readonly id: number;
      /** Index of the link that carries it. */
      readonly link?: number | undefined;
      readonly group?: IP | undefined;
      readonly local?: IP | undefined;
      readonly port?: number | undefined;
      readonly ttl?: number | undefined;
      readonly learning?: boolean | undefined;
    }
  | { readonly type: 'vrf'; readonly table: number }
  | { readonly type: 'dummy' | 'ifb' };

/** Kinds that the kernel can be asked about. A tun is made by other means (tun.ts). */
export type KindName = LinkKind['type'] | 'tun';

/**
 * The attribute that makes a link one of its kind.
 *
 * @param encodeLink Encodes a whole link: a veth describes its peer with one.
 */
export function encodeKind(
  kind: LinkKind,
  encodeLink: (link: LinkSettings & { readonly name: string }) => Buffer,
): Attribute {
  const data = kindAttributes(kind, encodeLink);
  return nested(IFLA_LINKINFO, [
    text(IFLA_INFO_KIND, kind.type),
    ...(data.length > 0 ? [nested(IFLA_INFO_DATA, data)] : []),
  ]);
}

/** The same without any settings. */
export function encodeBareKind(type: KindName): Attribute {
  return nested(IFLA_LINKINFO, [text(IFLA_INFO_KIND, type)]);
}

function kindAttributes(
  kind: LinkKind,
  encodeLink: (link: LinkSettings & { readonly name: string }) => Buffer,
): Attribute[] {
  switch (kind.type) {
    case 'veth':
      return kind.peer ? [bytes(VETH_INFO_PEER, encodeLink(kind.peer))] : [];
    case 'bridge':
      return [
        ...(kind.vlanFiltering === undefined ? [] : [u8(IFLA_BR_VLAN_FILTERING, kind.vlanFiltering ? 1 : 0)]),
        ...(kind.defaultVlan === undefined ? [] : [u16(IFLA_BR_VLAN_DEFAULT_PVID, kind.defaultVlan)]),
      ];
    case 'macvlan':
    case 'macvtap':
      return [
        u32(IFLA_MACVLAN_MODE, macvlanModes[kind.mode]),
        ...(kind.bcQueueLength === undefined ? [] : [u32(IFLA_MACVLAN_BC_QUEUE_LEN, kind.bcQueueLength)]),
      ];
    case 'ipvlan':
      return [u16(IFLA_IPVLAN_MODE, ipvlanModes[kind.mode]), u16(IFLA_IPVLAN_FLAGS, ipvlanFlags[kind.flag])];
    case 'vlan':
      return [u16(IFLA_VLAN_ID, kind.id), be16(IFLA_VLAN_PROTOCOL, ETH_P_8021Q)];
    case 'vxlan':
      return vxlanAttributes(kind);
    case 'vrf':
      return [u32(IFLA_VRF_TABLE, kind.table)];
    case 'dummy':
    case 'ifb':
      return [];
  }
}

function vxlanAttributes(kind: Extract<LinkKind, { type: 'vxlan' }>): Attribute[] {
  const { id, link, group, local, port, ttl, learning } = kind;
  return [
    u32(IFLA_VXLAN_ID, id),
    ...(link === undefined ? [] : [u32(IFLA_VXLAN_LINK, link)]),
    ...(group === undefined ? [] : [bytes(group.family === 4 ? IFLA_VXLAN_GROUP : IFLA_VXLAN_GROUP6, group.bytes)]),
    ...(local === undefined ? [] : [bytes(local.family === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local.bytes)]),
    ...(port === undefined ? [] : [be16(IFLA_VXLAN_PORT, port)]),
    ...(ttl === undefined ? [] : [u8(IFLA_VXLAN_TTL, ttl)]),
    ...(learning === undefined ? [] : [u8(IFLA_VXLAN_LEARNING, learning ? 1 : 0)]),
  ];
}

/** The kind of a link, and its settings where they are known here. */
export function decodeKind(link: Attributes): {
  readonly kind: string | undefined;
  readonly data: LinkKind | undefined;
} {
  const info = link.nested(IFLA_LINKINFO);
  const kind = info?.text(IFLA_INFO_KIND);
  const data = info?.nested(IFLA_INFO_DATA) ?? Attributes.decode(Buffer.alloc(0));
  return { kind, data: kind === undefined ? undefined : decodeData(kind, data) };
}

function decodeData(kind: string, data: Attributes): LinkKind | undefined {
  switch (kind) {
    case 'veth':
    case 'dummy':
    case 'ifb':
      return { type: kind };
    case 'bridge':
      return {
        type: kind,
        vlanFiltering: data.u8(IFLA_BR_VLAN_FILTERING) === 1,
        defaultVlan: data.u16(IFLA_BR_VLAN_DEFAULT_PVID),
      };
    case 'macvlan':
    case 'macvtap': {
      const mode = keyOf(macvlanModes, data.u32(IFLA_MACVLAN_MODE));
      return mode && { type: kind, mode, bcQueueLength: data.u32(IFLA_MACVLAN_BC_QUEUE_LEN) };
    }
    case 'ipvlan': {
      const mode = keyOf(ipvlanModes, data.u16(IFLA_IPVLAN_MODE));
      const ipvlanFlag = keyOf(ipvlanFlags, data.u16(IFLA_IPVLAN_FLAGS));
      return mode && ipvlanFlag && { type: kind, mode, flag: ipvlanFlag };
    }
    case 'vlan': {
      const id = data.u16(IFLA_VLAN_ID);
      return id === undefined ? undefined : { type: kind, id };
    }
    case 'vrf': {
      const table = data.u32(IFLA_VRF_TABLE);
      return table === undefined ? undefined : { type: kind, table };
    }
    case 'vxlan':
      return decodeVxlan(data);
    default:
      return undefined;
  }
}

function decodeVxlan(data: Attributes): LinkKind | undefined {
  const id = data.u32(IFLA_VXLAN_ID);
  if (id === undefined) return undefined;
  const learning = data.u8(IFLA_VXLAN_LEARNING);
  return {
    type: 'vxlan',
    id,
    link: data.u32(IFLA_VXLAN_LINK),
    group: ipOf(data.bytes(IFLA_VXLAN_GROUP) ?? data.bytes(IFLA_VXLAN_GROUP6)),
    local: ipOf(data.bytes(IFLA_VXLAN_LOCAL) ?? data.bytes(IFLA_VXLAN_LOCAL6)),
    port: data.be16(IFLA_VXLAN_PORT),
    ttl: data.u8(IFLA_VXLAN_TTL),
    learning: learning === undefined ? undefined : learning === 1,
  };
}

/** Reads an address attribute: four bytes are IPv4, sixteen IPv6. */
export function ipOf(value: Buffer | undefined): IP | undefined {
  if (value?.length === 4) return { family: 4, bytes: new Uint8Array(value) };
  if (value?.length === 16) return { family: 6, bytes: new Uint8Array(value) };
  return undefined;
}

function keyOf<K extends string>(names: Readonly<Record<K, number>>, value: number | undefined): K | undefined {
  for (const name in names) if (names[name] === value) return name;
  return undefined;
}
