import { formatIP, type IP } from '../net/ip.ts';
import { AF_UNSPEC, familyCode, familyOf } from './family.ts';
import { decodeMac, encodeMac } from './link.ts';
import { ipOf } from './link-kind.ts';
import { Attributes, bytes } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_REPLACE } from './netlink/message.ts';
import { change, dump, type Request } from './netlink/request.ts';

/* Neighbours, which is ARP and ND: struct ndmsg, NDA_* and NUD_* of linux/neighbour.h, rtnetlink(7). */

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const NDA_DST = 1;
const NDA_LLADDR = 2;

const NUD_PERMANENT = 0x80;

export interface Neighbour {
  /** Index of the interface. */
  readonly index: number;
  readonly ip: IP;
  /** Empty while it is not known. */
  readonly mac: string;
  /** It was told, not learned: never asked for, never forgotten. */
  readonly permanent: boolean;
}

export const neighbours = {
  list({ index, family }: { readonly index?: number; readonly family?: 4 | 6 } = {}): Request<readonly Neighbour[]> {
    const code = family === undefined ? AF_UNSPEC : familyCode(family);
    return dump('list neighbours', RTM_GETNEIGH, [header(code, 0, 0)], (payload) => {
      const found = decodeNeighbour(payload);
      const matches = (index ?? found?.index) === found?.index && (family ?? found?.ip.family) === found?.ip.family;
      return matches ? found : undefined;
    });
  },

  /** A permanent entry, in the place of any other for the address. */
  set({ index, ip, mac }: Omit<Neighbour, 'permanent'>): Request<void> {
    return change(`set neighbour ${formatIP(ip)} to ${mac}`, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, [
      header(familyCode(ip.family), index, NUD_PERMANENT),
      bytes(NDA_DST, ip.bytes),
      bytes(NDA_LLADDR, encodeMac(mac)),
    ]);
  },

  /** ENOENT when there is none. */
  delete({ index, ip }: Pick<Neighbour, 'index' | 'ip'>): Request<void> {
    return change(`delete neighbour ${formatIP(ip)}`, RTM_DELNEIGH, 0, [
      header(familyCode(ip.family), index, 0),
      bytes(NDA_DST, ip.bytes),
    ]);
  },
};

/** struct ndmsg */
function header(family: number, index: number, state: number): Buffer {
  const buffer = Buffer.alloc(12);
  buffer.writeUInt8(family, 0);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt16LE(state, 8);
  return buffer;
}

function decodeNeighbour(payload: Buffer): Neighbour | undefined {
  const attributes = Attributes.decode(payload.subarray(12));
  const ip = ipOf(attributes.bytes(NDA_DST));
  if (ip === undefined || ip.family !== familyOf(payload.readUInt8(0))) return undefined;
  return {
    index: payload.readInt32LE(4),
    ip,
    mac: decodeMac(attributes.bytes(NDA_LLADDR)),
    permanent: (payload.readUInt16LE(8) & NUD_PERMANENT) !== 0,
  };
}
