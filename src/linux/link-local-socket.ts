import type { IP } from '../net/ip.ts';
import { isKernelError } from './errors.ts';
import { bindSocket, close, Inbox, receiveNow, sendTo, socket } from './libc.ts';
import type { NetworkNamespace } from './namespace.ts';

/* UDP between a link-local address and others on its link: ipv6(7). */

/** <sys/socket.h> */
const AF_INET6 = 10;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

/** struct sockaddr_in6 of linux/in6.h */
const addressSize = 28;
const portOffset = 2;
const ipOffset = 8;
const scopeOffset = 24;

const largestDatagram = 65_535;

/** What is received is read, and copied, before anything else runs: one inbox serves all sockets. */
const sharedInbox = new Inbox(largestDatagram, addressSize);

/** A socket of UDP on the interface that a link-local address belongs to. It never waits. */
export class LinkLocalSocket implements Disposable {
  readonly #fd: number;
  readonly #index: number;
  #closed = false;

  private constructor(fd: number, index: number) {
    this.#fd = fd;
    this.#index = index;
  }

  /**
   * @param index Of the interface; the kernel binds the socket to it with the address.
   * @param ip A link-local address of the interface that is not tentative.
   * @param port The own one.
   * @throws {KernelError} EADDRNOTAVAIL when the interface does not have the address, EADDRINUSE when the port is taken.
   */
  static open(namespace: NetworkNamespace, index: number, ip: IP, port: number): LinkLocalSocket {
    const fd = namespace.run(() => socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    try {
      bindSocket(fd, addressOf(index, ip, port));
    } catch (error) {
      close(fd);
      throw error;
    }
    return new LinkLocalSocket(fd, index);
  }

  /** @throws {KernelError} such that {@link isLost} tells that the link did not take it. */
  send(data: Uint8Array, ip: IP, port: number): void {
    this.#requireOpen();
    sendTo(this.#fd, data, addressOf(this.#index, ip, port));
  }

  /** @returns What arrived, with the port that it came from; undefined when nothing is there. */
  receive(): { readonly data: Buffer; readonly port: number } | undefined {
    this.#requireOpen();
    const length = receiveNow(this.#fd, sharedInbox);
    if (length === undefined) return undefined;
    const { address, data } = sharedInbox;
    return { data: Buffer.from(data.subarray(0, length)), port: address.readUInt16BE(portOffset) };
  }

  /** A number that was given back may be another file's. */
  #requireOpen(): void {
    if (this.#closed) throw new Error('the link-local socket is closed');
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

function addressOf(index: number, { bytes }: IP, port: number): Buffer {
  const address = Buffer.alloc(addressSize);
  address.writeUInt16LE(AF_INET6, 0);
  address.writeUInt16BE(port, portOffset);
  address.set(bytes, ipOffset);
  address.writeUInt32LE(index, scopeOffset);
  return address;
}
