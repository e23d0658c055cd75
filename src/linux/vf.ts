import { decodeMac, encodeMac } from './link.ts';
import { type Attribute, Attributes, bytes, eachAttribute, nested, u32 } from './netlink/attribute.ts';
import { change, get, type Request } from './netlink/request.ts';

/*
 * What a physical function lets its virtual functions do: IFLA_VFINFO_LIST of linux/if_link.h, ip-link(8). It is set on the
 * interface of the physical function, by the virtual function's number, wherever the virtual function's own interface is.
 */

const RTM_GETLINK = 18;
const RTM_SETLINK = 19;

const IFLA_ADDRESS = 1;
const IFLA_VFINFO_LIST = 22;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_VF = 1 << 0;
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

const IFLA_VF_INFO = 1;
const IFLA_VF_MAC = 1;
const IFLA_VF_VLAN = 2;
const IFLA_VF_SPOOFCHK = 4;
const IFLA_VF_LINK_STATE = 5;
const IFLA_VF_RATE = 6;
const IFLA_VF_TRUST = 9;
const IFLA_VF_VLAN_LIST = 12;
const IFLA_VF_VLAN_INFO = 1;

/** MAX_ADDR_LEN of linux/netdevice.h: the room for a hardware address in struct ifla_vf_mac. */
const addressRoom = 32;

/** linux/if_ether.h: the protocol that a VLAN's tag is of. */
const ETH_P_8021Q = 0x8100;
const ETH_P_8021AD = 0x88a8;

export const vlanProtocols = { '802.1q': ETH_P_8021Q, '802.1ad': ETH_P_8021AD } as const;

/** IFLA_VF_LINK_STATE_*: as the physical function's link is, always up, always down. */
export const vfLinkStates = ['auto', 'enable', 'disable'] as const;

export interface VfVlan {
  /** 0: none. */
  readonly id: number;
  /** Priority, 0 to 7. */
  readonly qos: number;
  /** Such as 0x8100, 802.1Q. */
  readonly protocol: number;
}

/** What one virtual function may do. */
export interface VfAttributes {
  /** The address that the node gives it; all zeroes where the driver keeps none and the choice is the virtual function's. */
  readonly mac: string;
  readonly vlan: VfVlan;
  /** Mbit/s; 0 is no limit. */
  readonly rate: { readonly min: number; readonly max: number };
  readonly linkState: (typeof vfLinkStates)[number];
  /** Undefined where the driver knows none, as with {@link trust}. */
  readonly spoofCheck: boolean | undefined;
  readonly trust: boolean | undefined;
}

/** Absent what stays as it is. */
export type VfChanges = { readonly [K in keyof VfAttributes]?: VfAttributes[K] | undefined };

/** A virtual function as the kernel has it. */
export interface Vf extends VfAttributes {
  readonly number: number;
}

export const vfs = {
  /** The virtual functions of a physical function, by the index of its interface. */
  list(index: number): Request<readonly Vf[]> {
    const mask = u32(IFLA_EXT_MASK, RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS);
    return get(`list virtual functions of interface number ${index}`, RTM_GETLINK, [header(index), mask], decodeVfs);
  },

  /**
   * Sets attributes of a virtual function, each by a request of its own: one that the driver refuses is named, and keeps none
   * of the others from being set. EOPNOTSUPP: the driver has no such attribute.
   */
  set(index: number, number: number, attributes: VfChanges): readonly Request<void>[] {
    return encodeVf(number, attributes).map(([what, attribute]) =>
      change(`set ${what} of virtual function ${number} of interface number ${index}`, RTM_SETLINK, 0, [
        header(index),
        nested(IFLA_VFINFO_LIST, [nested(IFLA_VF_INFO, [attribute])]),
      ]),
    );
  },
};

/** struct ifinfomsg */
function header(index: number): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeInt32LE(index, 4);
  return buffer;
}

function encodeVf(number: number, attributes: VfChanges): (readonly [string, Attribute])[] {
  const { mac, vlan, rate, spoofCheck, trust, linkState } = attributes;
  const encoded: (readonly [string, Attribute])[] = [];
  if (vlan !== undefined) encoded.push([`vlan ${vlan.id} qos ${vlan.qos}`, encodeVlan(number, vlan)]);
  if (mac !== undefined) encoded.push([`mac ${mac}`, encodeAddress(number, mac)]);
  if (rate !== undefined) {
    const { min, max } = rate;
    encoded.push([`min_tx_rate ${min} max_tx_rate ${max}`, bytes(IFLA_VF_RATE, words(number, min, max))]);
  }
  if (spoofCheck !== undefined) {
    encoded.push([`spoofchk ${onOff(spoofCheck)}`, bytes(IFLA_VF_SPOOFCHK, words(number, Number(spoofCheck)))]);
  }
  if (trust !== undefined) encoded.push([`trust ${onOff(trust)}`, bytes(IFLA_VF_TRUST, words(number, Number(trust)))]);
  if (linkState !== undefined) {
    const value = words(number, vfLinkStates.indexOf(linkState));
    encoded.push([`state ${linkState}`, bytes(IFLA_VF_LINK_STATE, value)]);
  }
  return encoded;
}

const onOff = (value: boolean): string => (value ? 'on' : 'off');

/** The structures of virtual functions are numbers of 32 bits in a row, the first of them that of the virtual function. */
function words(...values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [place, value] of values.entries()) buffer.writeUInt32LE(value, place * 4);
  return buffer;
}

/** struct ifla_vf_mac */
function encodeAddress(number: number, mac: string): Attribute {
  return bytes(IFLA_VF_MAC, Buffer.concat([words(number), encodeMac(mac), Buffer.alloc(addressRoom)], 4 + addressRoom));
}

/** struct ifla_vf_vlan_info, which ends with padding. */
function encodeVlan(number: number, { id, qos, protocol }: VfVlan): Attribute {
  const info = Buffer.concat([words(number, id, qos), Buffer.alloc(4)]);
  info.writeUInt16BE(protocol, 12);
  return nested(IFLA_VF_VLAN_LIST, [bytes(IFLA_VF_VLAN_INFO, info)]);
}

function decodeVfs(payload: Buffer): readonly Vf[] {
  const link = Attributes.decode(payload.subarray(16));
  const addressLength = link.bytes(IFLA_ADDRESS)?.length ?? 0;
  const list = link.bytes(IFLA_VFINFO_LIST);
  if (list === undefined) return [];
  return [...eachAttribute(list)].flatMap(([type, value]) => {
    return type === IFLA_VF_INFO ? decodeVf(Attributes.decode(value), addressLength) : [];
  });
}

function decodeVf(info: Attributes, addressLength: number): Vf[] {
  const address = info.bytes(IFLA_VF_MAC);
  if (address === undefined || address.length < 4 + addressLength) return [];
  return [
    {
      number: address.readUInt32LE(0),
      mac: decodeMac(address.subarray(4, 4 + addressLength)),
      vlan: decodeVlan(info),
      rate: { min: word(info, IFLA_VF_RATE, 1) ?? 0, max: word(info, IFLA_VF_RATE, 2) ?? 0 },
      linkState: vfLinkStates[word(info, IFLA_VF_LINK_STATE, 1) ?? 0] ?? 'auto',
      spoofCheck: switchOf(info, IFLA_VF_SPOOFCHK),
      trust: switchOf(info, IFLA_VF_TRUST),
    },
  ];
}

/** Kernels before 4.9 know of no protocol. */
function decodeVlan(info: Attributes): VfVlan {
  const listed = info.nested(IFLA_VF_VLAN_LIST)?.bytes(IFLA_VF_VLAN_INFO);
  if (listed !== undefined && listed.length >= 14) {
    return { id: listed.readUInt32LE(4), qos: listed.readUInt32LE(8), protocol: listed.readUInt16BE(12) };
  }
  return { id: word(info, IFLA_VF_VLAN, 1) ?? 0, qos: word(info, IFLA_VF_VLAN, 2) ?? 0, protocol: ETH_P_8021Q };
}

/** A driver that does not know an attribute leaves it at -1 (rtnl_fill_vfinfo, rtnetlink.c). */
function switchOf(info: Attributes, type: number): boolean | undefined {
  const value = word(info, type, 1);
  return value === undefined || value === 0xffffffff ? undefined : value !== 0;
}

function word(info: Attributes, type: number, place: number): number | undefined {
  const value = info.bytes(type);
  return value !== undefined && value.length >= (place + 1) * 4 ? value.readUInt32LE(place * 4) : undefined;
}
