import { Attributes, alignUp } from './attribute.ts';

/* Netlink messages (linux/netlink.h, struct nlmsghdr). */

const headerLength = 16;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
/** Types below are netlink's own, of whatever protocol. */
export const NLMSG_MIN_TYPE = 0x10;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_ECHO = 0x8;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** Of an NLMSG_ERROR: attributes follow. */
const NLM_F_ACK_TLVS = 0x200;
/** Of an NLMSG_ERROR: the request is not repeated beyond its header. */
const NLM_F_CAPPED = 0x100;
const NLMSGERR_ATTR_MSG = 1;

const EBADMSG = 74;

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

export function encodeMessage({ type, flags, sequence, payload }: Message): Buffer {
  const message = Buffer.alloc(alignUp(headerLength + payload.length));
  message.writeUInt32LE(headerLength + payload.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(sequence, 8);
  message.set(payload, headerLength);
  return message;
}

/** The whole messages of one datagram. What follows the first broken one is not read. */
export function* decodeMessages(datagram: Buffer): Generator<Message> {
  let offset = 0;
  while (offset + headerLength <= datagram.length) {
    const length = datagram.readUInt32LE(offset);
    if (length < headerLength || offset + length > datagram.length) return;
    yield {
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      payload: datagram.subarray(offset + headerLength, offset + length),
    };
    offset += alignUp(length);
  }
}

export interface Acknowledgement {
  /** 0 for success. */
  readonly errno: number;
  /** The kernel's own words, where it has any. */
  readonly extack: string | undefined;
}

/** Reads an NLMSG_ERROR, or the NLMSG_DONE that ends a dump: a negative errno, then perhaps more. */
export function decodeAcknowledgement({ type, flags, payload }: Omit<Message, 'sequence'>): Acknowledgement {
  if (payload.length < 4) return { errno: EBADMSG, extack: undefined };
  const errno = Math.abs(payload.readInt32LE(0));
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, extack: undefined };
  const attributes = payload.subarray(attributesOffset(type, flags, payload));
  return { errno, extack: Attributes.decode(attributes).text(NLMSGERR_ATTR_MSG) };
}

/** Attributes come behind the errno and, in an NLMSG_ERROR, the request that it answers: its header, or the whole of it. */
function attributesOffset(type: number, flags: number, payload: Buffer): number {
  if (type === NLMSG_DONE) return 4;
  const repeated = (flags & NLM_F_CAPPED) !== 0 || payload.length < 8 ? headerLength : payload.readUInt32LE(4);
  return Math.min(4 + alignUp(repeated), payload.length);
}
