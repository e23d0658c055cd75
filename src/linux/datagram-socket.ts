import { isKernelError } from './errors.ts';
import { close, Inbox, receiveNow, sendTo, socket } from './libc.ts';
import type { NetworkNamespace } from './namespace.ts';

/* What sockets of datagrams have in common, whichever their family: socket(2), sendto(2), recvfrom(2). */

/** <sys/socket.h> */
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

const largestDatagram = 65_535;
/** struct sockaddr_storage of <sys/socket.h>: no family's address is larger. */
const largestAddress = 128;

/** What is received is read, and copied, before anything else runs: one inbox serves all sockets. */
const sharedInbox = new Inbox(largestDatagram, largestAddress);

export interface Datagram {
  readonly data: Buffer;
  /** The sender's, as the family has it. Read it before anything else is received. */
  readonly address: Buffer;
}

/** A socket that is bound, in the namespace that it was opened in. It never waits. */
export class DatagramSocket implements Disposable {
  readonly #fd: number;
  #closed = false;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * @param family AF_* of <sys/socket.h>. The protocol is the family's own, or none where a socket receives from its binding on.
   * @param bind Makes of the new socket one that receives what it should.
   * @throws {KernelError} of the socket or of its binding; nothing is open then.
   */
  static open(namespace: NetworkNamespace, family: number, bind: (fd: number) => void): DatagramSocket {
    const fd = namespace.run(() => socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    try {
      bind(fd);
    } catch (error) {
      close(fd);
      throw error;
    }
    return new DatagramSocket(fd);
  }

  /** @throws {KernelError} such that {@link isLost} tells that the link did not take it. */
  send(data: Uint8Array, address: Buffer): void {
    this.#requireOpen();
    sendTo(this.#fd, data, address);
  }

  /** @returns undefined when nothing is there. @throws {KernelError} ENETDOWN once, when the interface went down. */
  receive(): Datagram | undefined {
    this.#requireOpen();
    const length = receiveNow(this.#fd, sharedInbox);
    if (length === undefined) return undefined;
    const { data, address } = sharedInbox;
    return { data: Buffer.from(data.subarray(0, length)), address };
  }

  /** A number that was given back may be another file's. */
  #requireOpen(): void {
    if (this.#closed) throw new Error('the socket is closed');
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.#fd);
  }
}

/** Whether the interface is down, without its address or gone: what was sent is lost then, as on a cable. */
export const isLost = (error: unknown): boolean =>
  isKernelError(error, 'ENETDOWN', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ENXIO', 'ENODEV', 'ENOBUFS', 'EAGAIN');
