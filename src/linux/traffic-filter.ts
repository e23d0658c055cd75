import { networkOf, type Prefix } from '../net/ip.ts';
import { Attributes, bytes, eachAttribute, nested, text, u32 } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from './netlink/message.ts';
import { change, dump, type Request } from './netlink/request.ts';
import { TCA_KIND, TCA_OPTIONS, trafficHeader } from './qdisc.ts';

/*
 * Filters of queueing disciplines, which choose what becomes of a packet: u32 of linux/pkt_cls.h, mirred of
 * linux/tc_act/tc_mirred.h; tc-u32(8), tc-mirred(8).
 */

const RTM_NEWTFILTER = 44;
const RTM_GETTFILTER = 46;

const TCA_U32_CLASSID = 1;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;

const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TCA_EGRESS_REDIR = 1;
const TC_ACT_STOLEN = 4;

const ETH_P_ALL = 0x0003;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

/** Where the addresses are in the header of the network: struct iphdr, struct ipv6hdr. */
const addressOffset = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } } as const;

/** The numbers of filters, by which they are asked in turn. All of one number must be of one protocol. */
const priorities = { redirect: 1, 6: 15, 4: 16 } as const;

/** Bytes of a packet that a filter looks at: four, from the network's header on. */
export interface FilterKey {
  readonly offset: number;
  /** In hexadecimal, as the packet has it. */
  readonly value: string;
  readonly mask: string;
}

export interface TrafficFilter {
  /** The class that what matches goes to. */
  readonly classId: number | undefined;
  readonly keys: readonly FilterKey[];
  /** Index of the interface that what matches is sent out of instead; 0 when that is gone. */
  readonly redirectTo: number | undefined;
}

export const trafficFilters = {
  /**
   * Sends all that comes through a qdisc out of another interface instead.
   *
   * @param parent Handle of the qdisc.
   */
  redirectAll(index: number, parent: number, to: number, classId: number): Request<void> {
    return add(`redirect what interface number ${index} receives`, index, parent, priorities.redirect, ETH_P_ALL, [
      u32(TCA_U32_CLASSID, classId),
      bytes(TCA_U32_SEL, selector([])),
      nested(TCA_U32_ACT, [nested(1, [text(TCA_ACT_KIND, 'mirred'), nested(TCA_ACT_OPTIONS, [redirection(to)])])]),
    ]);
  },

  /** Puts into a class what has an address in a prefix. By the handle of an HTB qdisc itself, it goes out at once. */
  classify(
    index: number,
    parent: number,
    prefix: Prefix,
    side: 'source' | 'destination',
    classId: number,
  ): Request<void> {
    const { family } = prefix.ip;
    const protocol = family === 4 ? ETH_P_IP : ETH_P_IPV6;
    return add(`add filter to interface number ${index}`, index, parent, priorities[family], protocol, [
      u32(TCA_U32_CLASSID, classId),
      bytes(TCA_U32_SEL, selector(prefixKeys(prefix, side))),
    ]);
  },

  /** The u32 filters of a qdisc, in the order in which they are asked. */
  list(index: number, parent: number): Request<readonly TrafficFilter[]> {
    return dump(
      `list filters of interface number ${index}`,
      RTM_GETTFILTER,
      [trafficHeader(index, 0, parent)],
      decodeFilter,
    );
  },
};

function add(
  operation: string,
  index: number,
  parent: number,
  priority: number,
  protocol: number,
  options: readonly Buffer[],
): Request<void> {
  // The protocol is in network byte order.
  const info = priority * 0x1_0000 + ((protocol & 0xff) << 8) + (protocol >> 8);
  return change(operation, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, [
    trafficHeader(index, 0, parent, info),
    text(TCA_KIND, 'u32'),
    nested(TCA_OPTIONS, options),
  ]);
}

/** What a packet must have to have an address in a prefix. */
export function prefixKeys(prefix: Prefix, side: 'source' | 'destination'): readonly FilterKey[] {
  const network = Buffer.from(networkOf(prefix).bytes);
  const mask = Buffer.from(network.map((_, i) => 0xff00 >> Math.min(8, Math.max(0, prefix.length - 8 * i))));
  const start = addressOffset[prefix.ip.family][side];
  const keys: FilterKey[] = [];
  for (let place = 0; 8 * place < prefix.length; place += 4) {
    const word = (of: Buffer): string => of.toString('hex', place, place + 4);
    keys.push({ offset: start + place, value: word(network), mask: word(mask) });
  }
  return keys;
}

/** struct tc_u32_sel and its struct tc_u32_key. Without keys there is one that everything matches, as tc(8) has it. */
function selector(keys: readonly FilterKey[]): Buffer {
  const all = keys.length > 0 ? keys : [{ offset: 0, value: '00000000', mask: '00000000' }];
  const head = Buffer.alloc(16);
  head.writeUInt8(TC_U32_TERMINAL, 0);
  head.writeUInt8(all.length, 2);
  const encoded = all.map(({ offset, value, mask }) => {
    const key = Buffer.alloc(16);
    key.write(mask + value, 'hex');
    key.writeInt32LE(offset, 8);
    return key;
  });
  return Buffer.concat([head, ...encoded]);
}

/** struct tc_mirred */
function redirection(to: number): Buffer {
  const parms = Buffer.alloc(28);
  parms.writeInt32LE(TC_ACT_STOLEN, 8);
  parms.writeInt32LE(TCA_EGRESS_REDIR, 20);
  parms.writeUInt32LE(to, 24);
  return bytes(TCA_MIRRED_PARMS, parms);
}

/** Undefined for what has no selector: the filter as a whole, and its tables. */
function decodeFilter(payload: Buffer): TrafficFilter | undefined {
  const attributes = Attributes.decode(payload.subarray(20));
  const options = attributes.text(TCA_KIND) === 'u32' ? attributes.nested(TCA_OPTIONS) : undefined;
  const head = options?.bytes(TCA_U32_SEL);
  if (options === undefined || head === undefined || head.length < 16) return undefined;
  const keys: FilterKey[] = [];
  for (let at = 16; keys.length < head.readUInt8(2) && at + 16 <= head.length; at += 16) {
    const key = { offset: head.readInt32LE(at + 8), value: hex(head, at + 4), mask: hex(head, at) };
    if (key.mask !== '00000000') keys.push(key);
  }
  return { classId: options.u32(TCA_U32_CLASSID), keys, redirectTo: redirectionOf(options.bytes(TCA_U32_ACT)) };
}

const hex = (buffer: Buffer, at: number): string => buffer.toString('hex', at, at + 4);

function redirectionOf(actions: Buffer | undefined): number | undefined {
  for (const [, action] of eachAttribute(actions ?? Buffer.alloc(0))) {
    const attributes = Attributes.decode(action);
    if (attributes.text(TCA_ACT_KIND) !== 'mirred') continue;
    const parms = attributes.nested(TCA_ACT_OPTIONS)?.bytes(TCA_MIRRED_PARMS);
    if (parms !== undefined && parms.length >= 28) return parms.readUInt32LE(24);
  }
  return undefined;
}
