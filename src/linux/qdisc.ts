import { AF_UNSPEC } from './family.ts';
import { type Attribute, Attributes, bytes, nested, text, u32 } from './netlink/attribute.ts';
import { NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL } from './netlink/message.ts';
import { change, get, type Request } from './netlink/request.ts';

/*
 * Queueing disciplines, which decide when an interface sends a packet: TCA_* of linux/rtnetlink.h, the structures of
 * linux/pkt_sched.h; tc-tbf(8), tc-htb(8), tc-bfifo(8).
 */

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const RTM_NEWTCLASS = 40;
const RTM_GETTCLASS = 42;

export const TCA_KIND = 1;
export const TCA_OPTIONS = 2;

const TC_H_ROOT = 0xffffffff;
const TC_H_INGRESS = 0xfffffff1;

const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;

const TCA_HTB_PARMS = 1;
const TCA_HTB_INIT = 2;
const TCA_HTB_DIRECT_QLEN = 5;
const TCA_HTB_RATE64 = 6;
const TCA_HTB_CEIL64 = 7;

/** The version of HTB's structures (HTB_VER, sch_htb.c). */
const htbVersion = 3;
/** tc-htb(8)'s default of r2q, which only counts for classes that have no quantum. */
const htbRateToQuantum = 10;
/** Bytes that a class may send before another's turn. */
const htbQuantum = 10_000;

/** PSCHED_SHIFT of include/net/pkt_sched.h, which tc(8) reads from /proc/net/psched. */
export const nanosecondsInTick = 64;

export const maxU32 = 0xffffffff;

/** A handle such as `1:30` of tc(8), whose halves are hexadecimal. */
export const handle = (major: number, minor: number): number => major * 0x1_0000 + minor;

/** What one interface has at most one of each: what decides about all that it sends, and about what it receives. */
export const rootHandle = handle(1, 0);
export const ingressHandle = handle(0xffff, 0);

/** How fast, on average: a bucket of tokens, each for a byte. */
export interface Rate {
  /** Bytes per second. */
  readonly rate: number;
  /** The bucket, in ticks: how long it takes to fill it. */
  readonly buffer: number;
}

export type QdiscKind =
  /** All at one rate, and what waits longer than the limit allows is dropped. */
  | (Rate & { readonly type: 'tbf'; readonly limit: number })
  /** Each class at its rate. What is in none goes into the class of this minor number, or, by 0, out at once. */
  | { readonly type: 'htb'; readonly defaultClass: number; readonly directLength: number }
  /** One after the other; bytes that may wait. */
  | { readonly type: 'bfifo'; readonly limit: number }
  /** Of what an interface receives: filters are all that it has. */
  | { readonly type: 'ingress' };

export interface Qdisc {
  readonly handle: number;
  readonly kind: string | undefined;
  /** The kind's own settings, for the kinds that are known here and can be read. */
  readonly data: QdiscKind | undefined;
}

export interface NewQdisc {
  /** Of the interface. */
  readonly index: number;
  /** The class that it is in. Absent: it is the interface's own. */
  readonly parent?: number | undefined;
  readonly kind: QdiscKind;
}

export const qdiscs = {
  /** EEXIST when somebody else's is there; the one that an interface has by itself is no obstacle. */
  add({ index, parent, kind }: NewQdisc): Request<void> {
    const own = kind.type === 'ingress' ? [ingressHandle, TC_H_INGRESS] : [rootHandle, TC_H_ROOT];
    const [handle = 0, place = 0] = parent === undefined ? own : [0, parent];
    return change(`add ${kind.type} to interface number ${index}`, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, [
      trafficHeader(index, handle, place),
      text(TCA_KIND, kind.type),
      ...encodeQdisc(kind),
    ]);
  },

  /** With all that is in it. ENOENT, or EINVAL for ingress, when there is none. */
  delete(index: number, which: 'root' | 'ingress'): Request<void> {
    return change(`delete ${which} qdisc of interface number ${index}`, RTM_DELQDISC, 0, [
      trafficHeader(index, 0, placeOf(which)),
    ]);
  },

  /** ENOENT where an interface has never had one; undefined where it has what the kernel does not show. */
  get(index: number, which: 'root' | 'ingress'): Request<Qdisc | undefined> {
    const request = get(
      `look up ${which} qdisc of interface number ${index}`,
      RTM_GETQDISC,
      [trafficHeader(index, 0, placeOf(which))],
      decodeQdisc,
    );
    // The kernel answers with nothing where the qdisc is not one that it shows.
    return { ...shown(request), decode: (payloads) => (payloads.length === 0 ? undefined : request.decode(payloads)) };
  },
};

const placeOf = (which: 'root' | 'ingress'): number => (which === 'root' ? TC_H_ROOT : TC_H_INGRESS);

export const htbClasses = {
  add(index: number, id: number, rate: Rate): Request<void> {
    const parms = Buffer.concat([
      rateSpec(rate.rate),
      rateSpec(rate.rate),
      words(rate.buffer, rate.buffer, htbQuantum, 0, 0),
    ]);
    return change(
      `add class ${formatHandle(id)} to interface number ${index}`,
      RTM_NEWTCLASS,
      NLM_F_CREATE | NLM_F_EXCL,
      [
        trafficHeader(index, id, rootHandle),
        text(TCA_KIND, 'htb'),
        nested(TCA_OPTIONS, [
          bytes(TCA_HTB_PARMS, parms),
          ...rate64(TCA_HTB_RATE64, rate.rate),
          ...rate64(TCA_HTB_CEIL64, rate.rate),
        ]),
      ],
    );
  },

  /** ENOENT when there is none. Undefined when it is another kind's. */
  get(index: number, id: number): Request<Rate | undefined> {
    const request = get(
      `look up class ${formatHandle(id)} of interface number ${index}`,
      RTM_GETTCLASS,
      [trafficHeader(index, id, 0)],
      (payload) => {
        const options = optionsOf(payload, 'htb');
        const parms = options?.bytes(TCA_HTB_PARMS);
        if (parms === undefined || parms.length < 44) return undefined;
        return { rate: wide(options, TCA_HTB_RATE64) ?? parms.readUInt32LE(8), buffer: parms.readUInt32LE(24) };
      },
    );
    return shown(request);
  },
};

/** The kernel sends what is asked for to those who listen to changes, and to who asks if that is asked for (rtnetlink_send). */
const shown = <T>(request: Request<T>): Request<T> => ({ ...request, flags: request.flags | NLM_F_ECHO });

const formatHandle = (id: number): string => `${(id >>> 16).toString(16)}:${(id & 0xffff).toString(16)}`;

/** struct tcmsg, which all requests about queues begin with. */
export function trafficHeader(index: number, handle: number, parent: number, info = 0): Buffer {
  const buffer = Buffer.alloc(20);
  buffer.writeUInt8(AF_UNSPEC, 0);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt32LE(handle, 8);
  buffer.writeUInt32LE(parent, 12);
  buffer.writeUInt32LE(info, 16);
  return buffer;
}

function encodeQdisc(kind: QdiscKind): Attribute[] {
  switch (kind.type) {
    case 'tbf': {
      // struct tc_tbf_qopt: the rate, that of peaks, which is none, and their numbers.
      const parms = Buffer.concat([rateSpec(kind.rate), rateSpec(0), words(kind.limit, kind.buffer, 0)]);
      return [nested(TCA_OPTIONS, [bytes(TCA_TBF_PARMS, parms), ...rate64(TCA_TBF_RATE64, kind.rate)])];
    }
    case 'htb': {
      // struct tc_htb_glob
      const init = words(htbVersion, htbRateToQuantum, kind.defaultClass, 0, 0);
      return [nested(TCA_OPTIONS, [bytes(TCA_HTB_INIT, init), u32(TCA_HTB_DIRECT_QLEN, kind.directLength)])];
    }
    case 'bfifo':
      return [bytes(TCA_OPTIONS, words(kind.limit))];
    case 'ingress':
      return [];
  }
}

function decodeQdisc(payload: Buffer): Qdisc {
  const kind = Attributes.decode(payload.subarray(20)).text(TCA_KIND);
  return { handle: payload.readUInt32LE(8), kind, data: decodeData(kind, payload) };
}

function decodeData(kind: string | undefined, payload: Buffer): QdiscKind | undefined {
  switch (kind) {
    case 'tbf': {
      const options = optionsOf(payload, kind);
      const parms = options?.bytes(TCA_TBF_PARMS);
      if (parms === undefined || parms.length < 36) return undefined;
      const rate = wide(options, TCA_TBF_RATE64) ?? parms.readUInt32LE(8);
      return { type: kind, rate, limit: parms.readUInt32LE(24), buffer: parms.readUInt32LE(28) };
    }
    case 'htb': {
      const options = optionsOf(payload, kind);
      const init = options?.bytes(TCA_HTB_INIT);
      if (init === undefined || init.length < 20) return undefined;
      return {
        type: kind,
        defaultClass: init.readUInt32LE(8),
        directLength: options?.u32(TCA_HTB_DIRECT_QLEN) ?? 0,
      };
    }
    case 'ingress':
      return { type: kind };
    default:
      return undefined;
  }
}

function optionsOf(payload: Buffer, kind: string): Attributes | undefined {
  const attributes = Attributes.decode(payload.subarray(20));
  return attributes.text(TCA_KIND) === kind ? attributes.nested(TCA_OPTIONS) : undefined;
}

/** struct tc_ratespec. Of a rate that does not fit, the kernel reads the attribute beside it. */
function rateSpec(rate: number): Buffer {
  const buffer = Buffer.alloc(12);
  buffer.writeUInt32LE(Math.min(rate, maxU32), 8);
  return buffer;
}

function rate64(type: number, rate: number): Attribute[] {
  if (rate <= maxU32) return [];
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(rate));
  return [bytes(type, buffer)];
}

function wide(options: Attributes | undefined, type: number): number | undefined {
  const value = options?.bytes(type);
  return value?.length === 8 ? Number(value.readBigUInt64LE()) : undefined;
}

/** Numbers of 32 bits, one behind the other. */
function words(...values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(4 * values.length);
  for (const [place, value] of values.entries()) buffer.writeUInt32LE(value, 4 * place);
  return buffer;
}
