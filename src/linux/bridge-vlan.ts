import { AF_BRIDGE } from './family.ts';
import { type Attribute, Attributes, bytes, eachAttribute, nested, u32 } from './netlink/attribute.ts';
import { change, dump, type Request } from './netlink/request.ts';

/* The VLANs of a bridge's ports: IFLA_BRIDGE_VLAN_INFO of linux/if_bridge.h, bridge(8). */

const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;

const IFLA_AF_SPEC = 26;
const IFLA_EXT_MASK = 29;
const IFLA_BRIDGE_VLAN_INFO = 2;
/** Answers with ranges instead of each VLAN. */
const RTEXT_FILTER_BRVLAN_COMPRESSED = 1 << 2;

const BRIDGE_VLAN_INFO_PVID = 1 << 1;
const BRIDGE_VLAN_INFO_UNTAGGED = 1 << 2;
const BRIDGE_VLAN_INFO_RANGE_BEGIN = 1 << 3;
const BRIDGE_VLAN_INFO_RANGE_END = 1 << 4;

/** VLANs next to each other that a port treats alike. */
export interface VlanRange {
  readonly first: number;
  readonly last: number;
  /** What comes in without a tag is in this VLAN. Of one VLAN only. */
  readonly pvid?: boolean | undefined;
  /** What goes out has no tag. */
  readonly untagged?: boolean | undefined;
}

export interface PortVlans {
  /** Index of the port, or of the bridge itself. */
  readonly index: number;
  readonly vlans: readonly VlanRange[];
}

export const bridgeVlans = {
  /** The VLANs of all ports of all bridges, and of the bridges themselves. None where the kernel has no such filter. */
  list(): Request<readonly PortVlans[]> {
    const mask = u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED);
    return dump('list VLANs of bridges', RTM_GETLINK, [header(0), mask], decodeVlans);
  },

  /** EOPNOTSUPP where the kernel has no VLAN filter for bridges. */
  add(index: number, vlans: readonly VlanRange[]): Request<void> {
    return change(describe('add', index, vlans), RTM_SETLINK, 0, [header(index), encodeVlans(vlans)]);
  },

  /** A VLAN that the port is not in is no error. */
  delete(index: number, vlans: readonly VlanRange[]): Request<void> {
    return change(describe('delete', index, vlans), RTM_DELLINK, 0, [header(index), encodeVlans(vlans)]);
  },
};

function describe(verb: string, index: number, vlans: readonly VlanRange[]): string {
  const ranges = vlans.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
  return `${verb} VLAN ${ranges.join(', ')} ${verb === 'add' ? 'to' : 'of'} bridge port number ${index}`;
}

/** struct ifinfomsg */
function header(index: number): Buffer {
  const buffer = Buffer.alloc(16);
  buffer.writeUInt8(AF_BRIDGE, 0);
  buffer.writeInt32LE(index, 4);
  return buffer;
}

function encodeVlans(vlans: readonly VlanRange[]): Attribute {
  return nested(
    IFLA_AF_SPEC,
    vlans.flatMap(({ first, last, pvid, untagged }) => {
      const flags = (pvid ? BRIDGE_VLAN_INFO_PVID : 0) | (untagged ? BRIDGE_VLAN_INFO_UNTAGGED : 0);
      if (first === last) return [vlanInfo(flags, first)];
      return [
        vlanInfo(flags | BRIDGE_VLAN_INFO_RANGE_BEGIN, first),
        vlanInfo(flags | BRIDGE_VLAN_INFO_RANGE_END, last),
      ];
    }),
  );
}

/** struct bridge_vlan_info */
function vlanInfo(flags: number, id: number): Attribute {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt16LE(flags, 0);
  buffer.writeUInt16LE(id, 2);
  return bytes(IFLA_BRIDGE_VLAN_INFO, buffer);
}

function decodeVlans(payload: Buffer): PortVlans | undefined {
  const specification = Attributes.decode(payload.subarray(16)).bytes(IFLA_AF_SPEC);
  if (payload.readUInt8(0) !== AF_BRIDGE || specification === undefined) return undefined;
  const vlans: VlanRange[] = [];
  let first: number | undefined;
  for (const [type, value] of eachAttribute(specification)) {
    if (type !== IFLA_BRIDGE_VLAN_INFO || value.length < 4) continue;
    const flags = value.readUInt16LE(0);
    const id = value.readUInt16LE(2);
    if ((flags & BRIDGE_VLAN_INFO_RANGE_BEGIN) !== 0) {
      first = id;
      continue;
    }
    vlans.push({
      first: first ?? id,
      last: id,
      pvid: (flags & BRIDGE_VLAN_INFO_PVID) !== 0,
      untagged: (flags & BRIDGE_VLAN_INFO_UNTAGGED) !== 0,
    });
    first = undefined;
  }
  return { index: payload.readInt32LE(4), vlans };
}
