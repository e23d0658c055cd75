import { isDeepStrictEqual } from 'node:util';
import { isKernelError } from '../../linux/errors.ts';
import {
  handle,
  htbClasses,
  maxU32,
  nanosecondsInTick,
  type QdiscKind,
  qdiscs,
  type Rate,
  rootHandle,
} from '../../linux/qdisc.ts';
import type { Request, Rtnetlink } from '../../linux/rtnetlink.ts';
import { type FilterKey, prefixKeys, trafficFilters } from '../../linux/traffic-filter.ts';
import type { Limit, Scope } from './limits.ts';

/*
 * What holds an interface's sending to a limit. For all traffic it is a token bucket, TBF, as the containernetworking
 * plugin has it; for a part, an HTB with one class, which everything else goes past.
 */

/** How long a packet may wait, in seconds, once a burst is over. */
const latency = 0.025;

/** What Ethernet and a VLAN's tag take in front of a packet. */
const frameHeader = 18;

/** Packets that may wait of what has no limit. */
const directLength = 1000;

/** Minor number of the class of what has a limit. */
const shapedClass = 0x30;

/** Which address is the other side's: of what the pod receives, the source. */
export type Side = 'source' | 'destination';

export interface Shape extends Limit {
  readonly scope: Scope;
  readonly side: Side;
  /** Bytes of the largest packet. */
  readonly mtu: number;
}

/** What an interface needs to be held to a limit, in this order. */
export function shapeRequests(index: number, { scope, side, ...limit }: Shape): readonly Request<void>[] {
  const { buffer, queue } = bucketOf(limit);
  const rate: Rate = { rate: limit.rate, buffer };
  if (scope.type === 'all') return [qdiscs.add({ index, kind: { type: 'tbf', ...rate, limit: queue } })];
  const target = scope.type === 'only' ? handle(1, shapedClass) : rootHandle;
  return [
    qdiscs.add({ index, kind: htbOf(scope) }),
    htbClasses.add(index, handle(1, shapedClass), rate),
    qdiscs.add({ index, parent: handle(1, shapedClass), kind: { type: 'bfifo', limit: queue } }),
    ...scope.subnets.map((prefix) => trafficFilters.classify(index, rootHandle, prefix, side, target)),
  ];
}

function htbOf(scope: Scope): QdiscKind {
  return { type: 'htb', defaultClass: scope.type === 'only' ? 0 : shapedClass, directLength };
}

/**
 * The bucket of a limit, and the bytes that may wait. The kernel drops what does not fit into the bucket, so the largest
 * packet always does; and it counts in 32 bits, which is 274 seconds of the rate.
 */
function bucketOf({ rate, burst, mtu }: Limit & Pick<Shape, 'mtu'>): {
  readonly buffer: number;
  readonly queue: number;
} {
  const ticks = Math.floor((Math.floor((burst * 1e6) / rate) * 1e3) / nanosecondsInTick);
  const least = Math.ceil(((mtu + frameHeader) * 1e9) / rate / nanosecondsInTick) + 1;
  const buffer = Math.min(Math.max(ticks, least), maxU32);
  const held = buffer === ticks ? burst : Math.ceil((buffer * nanosecondsInTick * rate) / 1e9);
  return { buffer, queue: Math.min(Math.floor(rate * latency) + held, maxU32) };
}

/** What of a shape is not as it was made, in words; undefined where all is. */
export async function shapeProblem(netlink: Rtnetlink, index: number, shape: Shape): Promise<string | undefined> {
  const { scope, side, ...limit } = shape;
  const { buffer, queue } = bucketOf(limit);
  const rate: Rate = { rate: limit.rate, buffer };
  const [root] = await netlink.run(qdiscs.get(index, 'root'));
  if (scope.type === 'all') return bucketProblem(root?.data, { type: 'tbf', ...rate, limit: queue });
  if (!isDeepStrictEqual(root?.data, htbOf(scope))) return `Failed to find qdisc htb, found ${root?.kind ?? 'none'}`;
  const id = handle(1, shapedClass);
  const [found] = await netlink.settle(htbClasses.get(index, id));
  if (found?.ok === false && !isKernelError(found.error, 'ENOENT')) throw found.error;
  const present = found?.ok === true ? found.value : undefined;
  if (present?.rate !== rate.rate) return differs('Rate', rate.rate, present?.rate);
  if (present.buffer !== buffer) return differs('Buffer', buffer, present.buffer);
  const [filters] = await netlink.run(trafficFilters.list(index, rootHandle));
  const wanted = scope.subnets.map((prefix) => fingerprint(prefixKeys(prefix, side)));
  const has = filters.map(({ keys }) => fingerprint(keys));
  return isDeepStrictEqual(wanted.toSorted(), has.toSorted())
    ? undefined
    : `Subnets do not match: wanted are ${wanted.length} filters, found ${has.length}, or others`;
}

function bucketProblem(found: QdiscKind | undefined, wanted: QdiscKind & { readonly type: 'tbf' }): string | undefined {
  if (found?.type !== 'tbf') return `Failed to find qdisc tbf, found ${found?.type ?? 'none'}`;
  if (found.rate !== wanted.rate) return differs('Rate', wanted.rate, found.rate);
  if (found.limit !== wanted.limit) return differs('Limit', wanted.limit, found.limit);
  return found.buffer === wanted.buffer ? undefined : differs('Buffer', wanted.buffer, found.buffer);
}

const differs = (what: string, wanted: number, found: number | undefined): string =>
  `${what} doesn't match: wanted ${wanted}, found ${found ?? 'none'}`;

const fingerprint = (keys: readonly FilterKey[]): string =>
  keys.map(({ offset, value, mask }) => `${offset}:${value}/${mask}`).join(' ');
