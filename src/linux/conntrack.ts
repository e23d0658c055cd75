import { equalIP, formatIP, type IP } from '../net/ip.ts';
import { isKernelError } from './errors.ts';
import { familyCode } from './family.ts';
import { ipOf } from './link-kind.ts';
import { NetworkNamespace } from './namespace.ts';
import { type Attribute, Attributes, be16, bytes, nested, u8, u32 } from './netlink/attribute.ts';
import { change, dump, type Request } from './netlink/request.ts';
import { NetlinkSocket } from './netlink/socket.ts';

/* What the kernel remembers of connections: linux/netfilter/nfnetlink_conntrack.h, and struct nfgenmsg of nfnetlink.h. */

const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;

const CTA_TUPLE_ORIG = 1;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_FILTER = 25;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
const CTA_FILTER_ORIG_FLAGS = 1;

/** CTA_FILTER_F_CTA_PROTO_NUM and _CTA_PROTO_DST_PORT of the kernel's nf_internals.h: which of a tuple must match. */
const filterByPort = (1 << 3) | (1 << 5);

/** IPPROTO_* of linux/in.h. */
const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Connections by where their first packet was going, before its address was translated. */
export interface Destination {
  readonly family: 4 | 6;
  readonly protocol: keyof typeof protocolNumbers;
  readonly port: number;
  /** Undefined: whatever the address is. */
  readonly ip?: IP | undefined;
}

/**
 * Has the node's kernel forget connections: their next packet is looked at as a first one, by the rules of that time.
 *
 * @throws {KernelError} unless the kernel remembers no connections at all.
 */
export async function forgetConnections(destinations: readonly Destination[]): Promise<void> {
  if (destinations.length === 0) return;
  try {
    using socket = NetlinkSocket.open(NetworkNamespace.host(), NETLINK_NETFILTER);
    for (const destination of destinations) {
      const found = await socket.dump(list(destination));
      if (!found.ok) throw found.error;
      for (const outcome of await socket.batch(found.value.map(forget))) {
        // It may have ended meanwhile.
        if (!outcome.ok && outcome.error.code !== 'ENOENT') throw outcome.error;
      }
    }
  } catch (error) {
    // No NETLINK_NETFILTER, or nothing there that knows of connections (nfnetlink_rcv_msg).
    if (!isKernelError(error, 'EPROTONOSUPPORT', 'EINVAL', 'EOPNOTSUPP')) throw error;
  }
}

/** What tells a connection from all others, as the kernel wrote it. */
interface Connection {
  readonly family: 4 | 6;
  readonly identity: readonly Attribute[];
}

/** Linux before 5.8 knows no filter, and tells of all: so it is asked for, and looked at. */
function list(destination: Destination): Request<readonly Connection[]> {
  const { family, protocol, port, ip } = destination;
  const to = `${protocol} to ${ip === undefined ? '' : formatIP(ip)}:${port}`;
  const wanted = [u8(CTA_PROTO_NUM, protocolNumbers[protocol]), be16(CTA_PROTO_DST_PORT, port)];
  return dump(
    `list connections by ${to}`,
    typeOf(IPCTNL_MSG_CT_GET),
    [
      header(family),
      nested(CTA_TUPLE_ORIG, [nested(CTA_TUPLE_PROTO, wanted)]),
      nested(CTA_FILTER, [u32(CTA_FILTER_ORIG_FLAGS, filterByPort)]),
    ],
    (payload) => decode(payload, destination),
  );
}

/** By its tuple always: without one, the kernel forgets all. */
function forget({ family, identity }: Connection): Request<void> {
  return change('forget a connection', typeOf(IPCTNL_MSG_CT_DELETE), 0, [header(family), ...identity]);
}

function decode(payload: Buffer, { family, protocol, port, ip }: Destination): Connection | undefined {
  const attributes = Attributes.decode(payload.subarray(headerLength));
  const tuple = attributes.bytes(CTA_TUPLE_ORIG);
  const id = attributes.bytes(CTA_ID);
  if (tuple === undefined || id === undefined || payload.readUInt8(0) !== familyCode(family)) return undefined;
  const parts = Attributes.decode(tuple);
  const way = parts.nested(CTA_TUPLE_PROTO);
  if (way?.u8(CTA_PROTO_NUM) !== protocolNumbers[protocol] || way.be16(CTA_PROTO_DST_PORT) !== port) return undefined;
  const destination = ipOf(parts.nested(CTA_TUPLE_IP)?.bytes(family === 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST));
  if (ip !== undefined && (destination === undefined || !equalIP(ip, destination))) return undefined;
  const zone = attributes.bytes(CTA_ZONE);
  return {
    family,
    identity: [
      nested(CTA_TUPLE_ORIG, [tuple]),
      bytes(CTA_ID, id),
      ...(zone === undefined ? [] : [bytes(CTA_ZONE, zone)]),
    ],
  };
}

const headerLength = 4;

/** struct nfgenmsg: the family, NFNETLINK_V0, and a number that is not used here. */
const header = (family: 4 | 6): Buffer => Buffer.from([familyCode(family), 0, 0, 0]);

const typeOf = (message: number): number => (NFNL_SUBSYS_CTNETLINK << 8) | message;
