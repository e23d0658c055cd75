import { KernelError } from '../errors.ts';
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from './message.ts';

const EBADMSG = 74;

/** One request of the kernel, not yet sent. Requests are plain values: they can be made anywhere and sent together. */
export interface Request<T> {
  /** What is wanted, as an error message begins: `create macvlan net1`. */
  readonly operation: string;
  readonly type: number;
  readonly flags: number;
  /** The family's fixed header, then its attributes. */
  readonly payload: Buffer;
  /** A dump is answered with any number of messages; the kernel works on one at a time. */
  readonly isDump: boolean;
  /** Reads the payloads of the answer. @throws {KernelError} when they are not what was asked for. */
  readonly decode: (payloads: readonly Buffer[]) => T;
}

/** What each request of a list is answered with. */
export type Results<R extends readonly Request<unknown>[]> = {
  readonly [K in keyof R]: R[K] extends Request<infer T> ? T : never;
};

/** A request that changes something, and is answered with its success alone. */
export function change(operation: string, type: number, flags: number, payload: readonly Buffer[]): Request<void> {
  return {
    operation,
    type,
    flags: NLM_F_REQUEST | NLM_F_ACK | flags,
    payload: Buffer.concat(payload),
    isDump: false,
    decode: () => {},
  };
}

/**
 * A request for one object.
 *
 * @param payload The family's fixed header, then attributes.
 * @param decode Is given the one payload of the answer, which has at least the same fixed header.
 */
export function get<T>(
  operation: string,
  type: number,
  payload: readonly [header: Buffer, ...attributes: readonly Buffer[]],
  decode: (payload: Buffer) => T,
): Request<T> {
  return {
    operation,
    type,
    flags: NLM_F_REQUEST | NLM_F_ACK,
    payload: Buffer.concat(payload),
    isDump: false,
    decode: ([first]) => {
      if (first === undefined || first.length < payload[0].length) {
        throw new KernelError(operation, EBADMSG, 'the kernel answered without an object');
      }
      return decode(first);
    },
  };
}

/**
 * A request for all objects of a kind.
 *
 * @param payload The family's fixed header, then attributes.
 * @param decode Is given payloads that have at least the same fixed header. What it returns undefined for is left out; of
 *   what tells of several objects, it returns a list.
 */
export function dump<T>(
  operation: string,
  type: number,
  payload: readonly [header: Buffer, ...attributes: readonly Buffer[]],
  decode: (payload: Buffer) => T | readonly T[] | undefined,
): Request<readonly T[]> {
  return {
    operation,
    type,
    flags: NLM_F_REQUEST | NLM_F_DUMP,
    payload: Buffer.concat(payload),
    isDump: true,
    decode: (payloads) => payloads.flatMap<T>((each) => (each.length < payload[0].length ? [] : (decode(each) ?? []))),
  };
}
