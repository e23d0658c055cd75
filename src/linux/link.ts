import { isKernelError } from './errors.ts';
import { decodeKind, encodeBareKind, encodeKind, type KindName, type LinkKind } from './link-kind.ts';
import { type Attribute, Attributes, bytes, text, u32 } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from './netlink/message.ts';
import { change, dump, get, type Request } from './netlink/request.ts';

/* Links: struct ifinfomsg and IFLA_* of linux/if_link.h, rtnetlink(7). */

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_TXQLEN = 13;
const IFLA_OPERSTATE = 16;
const IFLA_IFALIAS = 20;
const IFLA_NET_NS_FD = 28;
const IFLA_LINK_NETNSID = 37;
const IFLA_PROMISCUITY = 30;
const IFLA_EXT_MASK = 29;
const IFLA_ALT_IFNAME = 53;
const IFLA_PARENT_DEV_NAME = 56;
/** IFNAMSIZ without the zero byte at its end: a longer name can only be an alternative one. */
const longestName = 15;
/** Leaves counters out of the answer, which nobody here reads. */
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

/** net/if.h */
const IFF_UP = 0x1;
const IFF_BROADCAST = 0x2;
const IFF_LOOPBACK = 0x8;
const IFF_RUNNING = 0x40;
const IFF_NOARP = 0x80;
const IFF_PROMISC = 0x100;
const IFF_ALLMULTI = 0x200;
const IFF_MULTICAST = 0x1000;

const operStates = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'] as const;

export interface LinkFlags {
  readonly up: boolean;
  readonly broadcast: boolean;
  readonly loopback: boolean;
  readonly running: boolean;
  readonly noarp: boolean;
  readonly promisc: boolean;
  readonly allmulti: boolean;
  readonly multicast: boolean;
}

/** A network interface as the kernel has it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  /** Lower case, with colons; empty where the link has no hardware address. */
  readonly mac: string;
  readonly mtu: number;
  readonly flags: LinkFlags;
  readonly operState: (typeof operStates)[number];
  /** Index of the bridge or VRF that this is a port of. */
  readonly master: number | undefined;
  /** Index of the link below, in the namespace {@link parentNamespaceId} or, where that is undefined, in its own. */
  readonly parent: number | undefined;
  readonly parentNamespaceId: number | undefined;
  readonly alias: string | undefined;
  readonly txQueueLength: number;
  /** How many want it promiscuous. */
  readonly promiscuity: number;
  /** The name of its hardware on the bus, such as `0000:00:06.0`. Kernels before 5.14 do not tell. */
  readonly parentDevice: string | undefined;
  /** Undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** The kind's own settings, for the kinds that are known here. */
  readonly data: LinkKind | undefined;
}

/** What every new link can be given. */
export interface LinkSettings {
  /** File descriptor of the namespace in which it is to appear. Absent: the socket's. */
  readonly namespace?: number | undefined;
  /** Index, in the socket's namespace, of the link below. */
  readonly parent?: number | undefined;
  readonly mtu?: number | undefined;
  readonly mac?: string | undefined;
  readonly up?: boolean | undefined;
  /** Index of the bridge or VRF to join; 0 leaves it. */
  readonly master?: number | undefined;
  readonly txQueueLength?: number | undefined;
}

export interface NewLink extends LinkSettings {
  readonly name: string;
  readonly kind: LinkKind;
}

export interface LinkChanges extends Omit<LinkSettings, 'parent'> {
  readonly name?: string | undefined;
  /** A text for people, up to 255 bytes. The kernel takes none for a new link (rtnl_create_link). */
  readonly alias?: string | undefined;
  readonly promiscuous?: boolean | undefined;
  readonly allMulticast?: boolean | undefined;
}

export type LinkSelector = { readonly name: string } | { readonly index: number };

export const links = {
  /** One link; ENODEV when there is none. */
  get(selector: LinkSelector): Request<Link> {
    const mask = u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return get(`look up ${nameOf(selector)}`, RTM_GETLINK, [...select(selector), mask], decodeLink);
  },

  list(): Request<readonly Link[]> {
    const mask = u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return dump('list interfaces', RTM_GETLINK, [header(0, 0, 0), mask], decodeLink);
  },

  /** A new link, in its namespace under its final name from its first moment; EEXIST when the name is taken there. */
  create(link: NewLink): Request<void> {
    const { name, kind, up } = link;
    return change(`create ${kind.type} ${name}`, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, [
      header(0, up ? IFF_UP : 0, up ? IFF_UP : 0),
      text(IFLA_IFNAME, name),
      ...settings(link),
      encodeKind(kind, encodeLink),
    ]);
  },

  /**
   * Changes an interface, moves it to another namespace, renames it. The kernel does it in this order: move, address,
   * MTU, name, alias, flags, master (do_setlink, rtnetlink.c). What moves goes down and loses its addresses first, and
   * what was done before one step failed stays done.
   */
  change(index: number, changes: LinkChanges): Request<void> {
    const { name, alias, up, promiscuous, allMulticast } = changes;
    const bits: readonly (readonly [boolean | undefined, number])[] = [
      [up, IFF_UP],
      [promiscuous, IFF_PROMISC],
      [allMulticast, IFF_ALLMULTI],
    ];
    const mask = bits.reduce((sum, [wanted, bit]) => (wanted === undefined ? sum : sum | bit), 0);
    const value = bits.reduce((sum, [wanted, bit]) => (wanted ? sum | bit : sum), 0);
    return change(describe(index, changes), RTM_NEWLINK, 0, [
      header(index, value, mask),
      ...(name === undefined ? [] : [text(IFLA_IFNAME, name)]),
      ...(alias === undefined ? [] : [text(IFLA_IFALIAS, alias)]),
      ...settings(changes),
    ]);
  },

  /**
   * Asks for a link of a kind without anything that such a link needs. A kernel that knows the kind makes it, or says
   * what is missing; one that does not looks for the module first, and says {@link isUnknownKind}.
   */
  probe(type: KindName): Request<void> {
    return change(`probe ${type}`, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, [
      header(0, 0, 0),
      text(IFLA_IFNAME, `probe-${type}`),
      encodeBareKind(type),
    ]);
  },

  /** ENODEV when it is gone already; EOPNOTSUPP when it is hardware. */
  delete(selector: LinkSelector): Request<void> {
    return change(`delete ${nameOf(selector)}`, RTM_DELLINK, 0, select(selector));
  },
};

/** Whether the kernel refused a new link because it has no such kind (rtnl_newlink, rtnetlink.c). */
export function isUnknownKind(error: unknown): boolean {
  return isKernelError(error, 'EOPNOTSUPP') && (error.extack === undefined || error.extack === 'Unknown device type');
}

const nameOf = (selector: LinkSelector): string =>
  'index' in selector ? `interface number ${selector.index}` : `interface ${selector.name}`;

function select(selector: LinkSelector): [header: Buffer, ...attributes: Attribute[]] {
  if ('index' in selector) return [header(selector.index, 0, 0)];
  const isLong = Buffer.byteLength(selector.name) > longestName;
  return [header(0, 0, 0), text(isLong ? IFLA_ALT_IFNAME : IFLA_IFNAME, selector.name)];
}

function describe(index: number, { namespace, ...changes }: LinkChanges): string {
  const what = Object.entries(changes).flatMap(([key, to]) => (to === undefined ? [] : `${key} ${to}`));
  if (namespace !== undefined) what.unshift('another namespace');
  return `set ${what.join(', ')} of interface number ${index}`;
}

/** The whole message of a link that is described inside another's: the peer of a veth. */
function encodeLink({ name, up, ...rest }: LinkSettings & { readonly name: string }): Buffer {
  return Buffer.concat([header(0, up ? IFF_UP : 0, up ? IFF_UP : 0), text(IFLA_IFNAME, name), ...settings(rest)]);
}

/** struct ifinfomsg */
function header(index: number, flags: number, changeMask: number): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt32LE(flags, 8);
  buffer.writeUInt32LE(changeMask, 12);
  return buffer;
}

function settings(link: LinkSettings): Attribute[] {
  const attributes: Attribute[] = [];
  if (link.namespace !== undefined) attributes.push(u32(IFLA_NET_NS_FD, link.namespace));
  if (link.parent !== undefined) attributes.push(u32(IFLA_LINK, link.parent));
  if (link.mtu !== undefined) attributes.push(u32(IFLA_MTU, link.mtu));
  if (link.mac !== undefined) attributes.push(bytes(IFLA_ADDRESS, encodeMac(link.mac)));
  if (link.master !== undefined) attributes.push(u32(IFLA_MASTER, link.master));
  if (link.txQueueLength !== undefined) attributes.push(u32(IFLA_TXQLEN, link.txQueueLength));
  return attributes;
}

function decodeLink(payload: Buffer): Link {
  const attributes = Attributes.decode(payload.subarray(16));
  const flags = payload.readUInt32LE(8);
  const { kind, data } = decodeKind(attributes);
  return {
    index: payload.readInt32LE(4),
    name: attributes.text(IFLA_IFNAME) ?? '',
    mac: decodeMac(attributes.bytes(IFLA_ADDRESS)),
    mtu: attributes.u32(IFLA_MTU) ?? 0,
    flags: {
      up: (flags & IFF_UP) !== 0,
      broadcast: (flags & IFF_BROADCAST) !== 0,
      loopback: (flags & IFF_LOOPBACK) !== 0,
      running: (flags & IFF_RUNNING) !== 0,
      noarp: (flags & IFF_NOARP) !== 0,
      promisc: (flags & IFF_PROMISC) !== 0,
      allmulti: (flags & IFF_ALLMULTI) !== 0,
      multicast: (flags & IFF_MULTICAST) !== 0,
    },
    operState: operStates[attributes.u8(IFLA_OPERSTATE) ?? 0] ?? 'unknown',
    master: attributes.u32(IFLA_MASTER),
    parent: attributes.u32(IFLA_LINK) || undefined,
    parentNamespaceId: attributes.s32(IFLA_LINK_NETNSID),
    alias: attributes.text(IFLA_IFALIAS),
    txQueueLength: attributes.u32(IFLA_TXQLEN) ?? 0,
    promiscuity: attributes.u32(IFLA_PROMISCUITY) ?? 0,
    parentDevice: attributes.text(IFLA_PARENT_DEV_NAME),
    kind,
    data,
  };
}

/**
 * The bytes of a hardware address: six for Ethernet, twenty for InfiniBand.
 *
 * @throws {Error} when the text is none.
 */
export function encodeMac(text: string): Buffer {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5,19}$/i.test(text)) throw new Error(`"${text}" is not a hardware address`);
  return Buffer.from(text.replaceAll(/[:-]/g, ''), 'hex');
}

export function decodeMac(value: Buffer | undefined): string {
  return [...(value ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
