import { formatIP, type IP } from '../net/ip.ts';
import { AF_BRIDGE } from './family.ts';
import { decodeMac, encodeMac } from './link.ts';
import { ipOf } from './link-kind.ts';
import { Attributes, bytes } from './netlink/attribute.ts';
import { NLM_F_APPEND, NLM_F_CREATE } from './netlink/message.ts';
import { change, dump, type Request } from './netlink/request.ts';

/*
 * Where a VXLAN device sends frames to, by their hardware address, as bridge(8) has it under `fdb`: struct ndmsg, NDA_*,
 * NTF_* and NUD_* of linux/neighbour.h, vxlan_fdb_add of drivers/net/vxlan/vxlan_core.c.
 */

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const NDA_DST = 1;
const NDA_LLADDR = 2;

const NTF_SELF = 0x02;
const NUD_NOARP = 0x40;
const NUD_PERMANENT = 0x80;

/** Frames to everybody, and to whom nobody knows, go to all entries of this address. */
export const toEverybody = '00:00:00:00:00:00';

export interface ForwardingEntry {
  /** Index of the VXLAN device. */
  readonly index: number;
  readonly mac: string;
  readonly remote: IP;
}

export const forwardingEntries = {
  /** What was told, not learned. */
  list(index: number): Request<readonly ForwardingEntry[]> {
    return dump(`list forwarding entries of interface number ${index}`, RTM_GETNEIGH, [header(index)], (payload) => {
      const entry = decodeEntry(payload);
      // Kernels without NETLINK_GET_STRICT_CHK tell those of all interfaces.
      return entry?.index === index ? entry : undefined;
    });
  },

  /** One more remote for the address; one that is there is no error. */
  append(entry: ForwardingEntry): Request<void> {
    return change(describe('forward', entry), RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, encodeEntry(entry));
  },

  /** ENOENT when the address has none at all; that it has not this one is no error (__vxlan_fdb_delete). */
  delete(entry: ForwardingEntry): Request<void> {
    return change(describe('stop forwarding', entry), RTM_DELNEIGH, 0, encodeEntry(entry));
  },
};

const describe = (verb: string, { index, mac, remote }: ForwardingEntry): string =>
  `${verb} ${mac === toEverybody ? 'what is for everybody' : mac} to ${formatIP(remote)} on interface number ${index}`;

/** struct ndmsg */
function header(index: number, state = 0, flags = 0): Buffer {
  const buffer = Buffer.alloc(12);
  buffer.writeUInt8(AF_BRIDGE, 0);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt16LE(state, 8);
  buffer.writeUInt8(flags, 10);
  return buffer;
}

const encodeEntry = ({ index, mac, remote }: ForwardingEntry): readonly Buffer[] => [
  header(index, NUD_PERMANENT | NUD_NOARP, NTF_SELF),
  bytes(NDA_LLADDR, encodeMac(mac)),
  bytes(NDA_DST, remote.bytes),
];

function decodeEntry(payload: Buffer): ForwardingEntry | undefined {
  const attributes = Attributes.decode(payload.subarray(12));
  const remote = ipOf(attributes.bytes(NDA_DST));
  const isOwn = (payload.readUInt8(10) & NTF_SELF) !== 0 && (payload.readUInt16LE(8) & NUD_PERMANENT) !== 0;
  if (remote === undefined || !isOwn) return undefined;
  return { index: payload.readInt32LE(4), mac: decodeMac(attributes.bytes(NDA_LLADDR)), remote };
}
