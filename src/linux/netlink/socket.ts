import { channel } from 'node:diagnostics_channel';
import { KernelError } from '../errors.ts';
import { close, receiveNow, receiveOnThread, sendOnThread, setSocketOption, socket } from '../libc.ts';
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
} from './message.ts';
import type { Request } from './request.ts';

/** Told before and after each exchange. Tests end the process here to show that every step can be recovered from. */
const exchanges = channel('plexus:netlink');

/** <sys/socket.h>, linux/netlink.h */
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

const EIO = 5;
const ENOBUFS = 105;

/** The kernel fills at most this much with one datagram of a dump (NLMSG_GOODSIZE and its growth, af_netlink.c). */
const receiveSize = 65_536;
const receiveTimeoutSeconds = 10;
const dumpAttempts = 10;

/** Answers that need no waiting are read, and copied, before anything else runs: one large buffer serves all sockets. */
const sharedBuffer = Buffer.alloc(receiveSize);

/** How one request ended. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: KernelError };

/**
 * A netlink socket in one namespace. Requests are sent on another thread: a change may have to wait for rtnl_lock, which
 * somebody's removal of a device can hold for 20 ms.
 */
export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  #sequence = 0;
  /** Exchanges follow one another: the socket has one queue of answers. */
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * @param protocol Such as NETLINK_ROUTE, 0.
   * @throws {KernelError}
   */
  static open(namespace: NetworkNamespace, protocol: number): NetlinkSocket {
    const fd = namespace.run(() => socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    const on = Uint8Array.of(1, 0, 0, 0);
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
      setSocketOption(fd, SOL_NETLINK, option, on);
    }
    const timeout = Buffer.alloc(16);
    timeout.writeBigInt64LE(BigInt(receiveTimeoutSeconds));
    setSocketOption(fd, SOL_SOCKET, SO_RCVTIMEO, timeout);
    return new NetlinkSocket(fd);
  }

  /** Sends changes and single questions in one message, and resolves to how each ended. The kernel goes on past a failure. */
  batch<T>(requests: readonly Request<T>[]): Promise<Outcome<T>[]> {
    return this.#inTurn(() => this.#batch(requests));
  }

  /** @throws {KernelError} */
  dump<T>(request: Request<T>): Promise<Outcome<T>> {
    return this.#inTurn(() => this.#dump(request));
  }

  [Symbol.dispose](): void {
    // Whoever disposes of a socket in use has given up on the answer, but the thread must not find another file there.
    this.#tail = this.#tail.finally(() => close(this.#fd));
  }

  #inTurn<T>(exchange: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(exchange);
    this.#tail = result.catch(() => {});
    return result;
  }

  async #batch<T>(requests: readonly Request<T>[]): Promise<Outcome<T>[]> {
    const first = this.#sequence + 1;
    await this.#send(requests);
    const acknowledgements: (Acknowledgement | undefined)[] = requests.map(() => undefined);
    const payloads: Buffer[][] = requests.map(() => []);
    let missing = requests.length;
    while (missing > 0) {
      for (const message of await this.#receive(requests[0]?.operation ?? 'netlink')) {
        const index = message.sequence - first;
        if (index < 0 || index >= requests.length) continue;
        if (message.type !== NLMSG_ERROR) {
          payloads[index]?.push(message.payload);
        } else if (acknowledgements[index] === undefined) {
          acknowledgements[index] = decodeAcknowledgement(message);
          missing--;
        }
      }
    }
    exchanges.publish({ at: 'done', operations: requests.map(({ operation }) => operation) });
    return requests.map((request, i) => outcome(request, acknowledgements[i], payloads[i] ?? []));
  }

  async #dump<T>(request: Request<T>): Promise<Outcome<T>> {
    for (let attempt = 1; ; attempt++) {
      await this.#send([request]);
      const payloads: Buffer[] = [];
      let end: Acknowledgement | undefined;
      let interrupted = false;
      while (end === undefined) {
        for (const message of await this.#receive(request.operation)) {
          if (message.sequence !== this.#sequence) continue;
          interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
          if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) end = decodeAcknowledgement(message);
          else payloads.push(message.payload);
        }
      }
      // What was listed changed meanwhile, and something may be missing or there twice.
      if (!interrupted || attempt === dumpAttempts) return outcome(request, end, payloads);
    }
  }

  async #send(requests: readonly Request<unknown>[]): Promise<void> {
    const operations = requests.map(({ operation }) => operation);
    const messages = requests.map((request) => encodeMessage({ ...request, sequence: this.#nextSequence() }));
    exchanges.publish({ at: 'send', operations });
    const sent = await sendOnThread(this.#fd, Buffer.concat(messages));
    if (sent < 0) throw new KernelError(`${operations.join(', ')}: send to the kernel`, ENOBUFS);
  }

  /** Most answers are there when the request was sent; only the later parts of a long dump are worth a thread. */
  async #receive(operation: string): Promise<Message[]> {
    const length = receiveNow(this.#fd, sharedBuffer);
    if (length !== undefined) return [...decodeMessages(Buffer.from(sharedBuffer.subarray(0, length)))];
    const buffer = Buffer.alloc(receiveSize);
    const waited = await receiveOnThread(this.#fd, buffer);
    if (waited < 0) throw new KernelError(`${operation}: no answer from the kernel`, EIO);
    return [...decodeMessages(buffer.subarray(0, waited))];
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }
}

function outcome<T>(request: Request<T>, end: Acknowledgement | undefined, payloads: readonly Buffer[]): Outcome<T> {
  if (end !== undefined && end.errno !== 0) {
    return { ok: false, error: new KernelError(request.operation, end.errno, end.extack) };
  }
  return { ok: true, value: request.decode(payloads) };
}
