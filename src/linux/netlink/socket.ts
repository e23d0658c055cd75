import { channel } from 'node:diagnostics_channel';
import { isKernelError, KernelError } from '../errors.ts';
import type { NetworkNamespace } from '../namespace.ts';
import {
  type Acknowledgement,
  decodeAcknowledgement,
  decodeMessages,
  encodeMessage,
  type Message,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_MIN_TYPE,
} from './message.ts';
import type { Request } from './request.ts';
import { openTransport, type Transport } from './transport.ts';

/** Told before and after each exchange. Tests end the process here to show that every step can be recovered from. */
const exchanges = channel('plexus:netlink');

const EINTR = 4;
const ETIMEDOUT = 110;

/** Seconds until an exchange is given up. The kernel answers at once: an answer that is missing was dropped. */
const timeout = 10;

/**
 * What is sent at once. All answers to it queue up before one is read, 1 to 4 KB each as the kernel counts: those to so many
 * requests fit into a receive buffer of the usual 208 KB (net.core.rmem_default).
 */
const mostRequests = 32;
const mostBytes = 32_768;

/** Datagrams read for one exchange before the event loop has its turn: others may fill the queue faster than it empties. */
const mostAtOnce = 100;

const dumpAttempts = 10;

/** How one request ended. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: KernelError };

/**
 * A netlink socket in one namespace. Requests are sent on another thread: a change may have to wait for rtnl_lock, which
 * somebody's removal of a device can hold for 20 ms.
 */
export class NetlinkSocket implements Disposable {
  readonly #transport: Transport;
  #sequence: number;
  #closed = false;
  /** Exchanges follow one another: the socket has one queue of answers. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(transport: Transport, sequence = 0) {
    this.#transport = transport;
    this.#sequence = sequence;
  }

  /**
   * @param protocol Such as NETLINK_ROUTE, 0.
   * @throws {KernelError}
   */
  static open(namespace: NetworkNamespace, protocol: number): NetlinkSocket {
    return new NetlinkSocket(openTransport(namespace, protocol, timeout));
  }

  /**
   * Sends changes and single questions, many in one message, and resolves to how each ended. The kernel goes on past a
   * failure.
   *
   * @throws {KernelError} when the kernel could not be asked, or its answer did not arrive: what was done then is not known.
   */
  batch<T>(requests: readonly Request<T>[]): Promise<Outcome<T>[]> {
    return this.#inTurn(async () => {
      const outcomes: Outcome<T>[] = [];
      for (const part of partsOf(requests)) outcomes.push(...(await this.#batch(part)));
      return outcomes;
    });
  }

  /**
   * Asks for a list. One that changed while the kernel told it, and may lack something or have it twice, is asked for again.
   *
   * @throws {KernelError} as {@link batch}.
   */
  dump<T>(request: Request<T>): Promise<Outcome<T>> {
    return this.#inTurn(async () => {
      for (let attempt = 1; attempt <= dumpAttempts; attempt++) {
        const { end, payloads, interrupted } = await this.#dump(request);
        if (!interrupted || end.errno !== 0) return outcome(request, end, payloads);
      }
      const reason = `the list changed each of the ${dumpAttempts} times that it was read`;
      return { ok: false, error: new KernelError(request.operation, EINTR, reason) };
    });
  }

  /** Exchanges that are under way are finished; none can be begun. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    // A thread that works for a socket must not find another file under its number.
    this.#tail = this.#tail.then(() => this.#transport[Symbol.dispose]());
  }

  #inTurn<T>(exchange: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Error('the netlink socket is closed'));
    const result = this.#tail.then(exchange);
    this.#tail = result.catch(() => this.#drain());
    return result;
  }

  async #batch<T>(requests: readonly Request<T>[]): Promise<Outcome<T>[]> {
    const operations = requests.map(({ operation }) => operation);
    const first = await this.#send(requests);
    const ends: (Acknowledgement | undefined)[] = requests.map(() => undefined);
    const payloads: Buffer[][] = requests.map(() => []);
    let missing = requests.length;
    for await (const { type, flags, sequence, payload } of this.#answers(operations, true)) {
      const index = (sequence - first) >>> 0;
      if (index >= requests.length) continue;
      if (type >= NLMSG_MIN_TYPE) payloads[index]?.push(payload);
      if (type !== NLMSG_ERROR || ends[index] !== undefined) continue;
      ends[index] = decodeAcknowledgement({ type, flags, payload });
      if (--missing === 0) break;
    }
    exchanges.publish({ at: 'done', operations });
    return requests.map((request, i) => outcome(request, ends[i], payloads[i] ?? []));
  }

  async #dump<T>(request: Request<T>): Promise<Dump> {
    const first = await this.#send([request]);
    const payloads: Buffer[] = [];
    let interrupted = false;
    for await (const { type, flags, sequence, payload } of this.#answers([request.operation], false)) {
      if (sequence !== first) continue;
      interrupted ||= (flags & NLM_F_DUMP_INTR) !== 0;
      if (type >= NLMSG_MIN_TYPE) payloads.push(payload);
      if (type !== NLMSG_DONE && type !== NLMSG_ERROR) continue;
      return { end: decodeAcknowledgement({ type, flags, payload }), payloads, interrupted };
    }
    throw new Error(`${request.operation}: the answers ended`);
  }

  /** @returns The sequence number of the first; the others follow. */
  async #send(requests: readonly Request<unknown>[]): Promise<number> {
    const operations = requests.map(({ operation }) => operation);
    const first = (this.#sequence + 1) >>> 0;
    const messages = requests.map(({ type, flags, payload }) => {
      this.#sequence = (this.#sequence + 1) >>> 0;
      return encodeMessage({ type, flags, sequence: this.#sequence, payload });
    });
    exchanges.publish({ at: 'send', operations });
    try {
      await this.#transport.send(Buffer.concat(messages));
    } catch (error) {
      throw refused(operations, error);
    }
    return first;
  }

  /**
   * The messages that arrive, of whatever sequence number.
   *
   * @param ready The answers are there once the request was sent. Those to a dump are made while they are received, for
   *   which the kernel may wait.
   * @throws {KernelError} ETIMEDOUT when they do not end.
   */
  async *#answers(operations: readonly string[], ready: boolean): AsyncGenerator<Message> {
    const deadline = performance.now() + timeout * 1000;
    for (let received = 1; performance.now() < deadline; received++) {
      let datagram: Buffer;
      try {
        const here = ready && received % mostAtOnce !== 0 ? this.#transport.receiveNow() : undefined;
        datagram = here ?? (await this.#transport.receive());
      } catch (error) {
        if (isKernelError(error, 'EAGAIN')) break;
        throw refused(operations, error);
      }
      yield* decodeMessages(datagram);
    }
    throw new KernelError(operations.join(', '), ETIMEDOUT, `no answer from the kernel within ${timeout} s`);
  }

  /** What an exchange that failed left behind must go: the kernel drops answers until a queue that was full is empty. */
  #drain(): void {
    for (let i = 0; i < mostAtOnce; i++) {
      try {
        if (this.#transport.receiveNow() === undefined) return;
      } catch (error) {
        // ENOBUFS is told once, before what there was room for.
        if (!isKernelError(error)) throw error;
      }
    }
  }
}

interface Dump {
  readonly end: Acknowledgement;
  readonly payloads: readonly Buffer[];
  readonly interrupted: boolean;
}

function* partsOf<T>(requests: readonly Request<T>[]): Generator<readonly Request<T>[]> {
  let part: Request<T>[] = [];
  let size = 0;
  for (const request of requests) {
    if (part.length === mostRequests || (part.length > 0 && size + request.payload.length > mostBytes)) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(request);
    size += request.payload.length;
  }
  if (part.length > 0) yield part;
}

/** Names what was wanted in an error of the transport. */
function refused(operations: readonly string[], error: unknown): unknown {
  if (!isKernelError(error)) return error;
  return new KernelError(operations.join(', '), error.errno, error.operation);
}

function outcome<T>(request: Request<T>, end: Acknowledgement | undefined, payloads: readonly Buffer[]): Outcome<T> {
  if (end !== undefined && end.errno !== 0) {
    return { ok: false, error: new KernelError(request.operation, end.errno, end.extack) };
  }
  try {
    return { ok: true, value: request.decode(payloads) };
  } catch (error) {
    if (!isKernelError(error)) throw error;
    return { ok: false, error };
  }
}
