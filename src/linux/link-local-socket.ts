import type { IP } from '../net/ip.ts';
import { DatagramSocket } from './datagram-socket.ts';
import { bindSocket } from './libc.ts';
import type { NetworkNamespace } from './namespace.ts';

/* UDP between a link-local address and others on its link: ipv6(7). */

/** <sys/socket.h> */
const AF_INET6 = 10;

/** struct sockaddr_in6 of linux/in6.h */
const addressSize = 28;
const portOffset = 2;
const ipOffset = 8;
const scopeOffset = 24;

/** A socket of UDP on the interface that a link-local address belongs to. It never waits. */
export class LinkLocalSocket implements Disposable {
  readonly #socket: DatagramSocket;
  readonly #index: number;

  private constructor(socket: DatagramSocket, index: number) {
    this.#socket = socket;
    this.#index = index;
  }

  /**
   * @param index Of the interface; the kernel binds the socket to it with the address.
   * @param ip A link-local address of the interface that is not tentative.
   * @param port The own one.
   * @throws {KernelError} EADDRNOTAVAIL when the interface does not have the address, EADDRINUSE when the port is taken.
   */
  static open(namespace: NetworkNamespace, index: number, ip: IP, port: number): LinkLocalSocket {
    const bind = (fd: number): void => bindSocket(fd, addressOf(index, ip, port));
    return new LinkLocalSocket(DatagramSocket.open(namespace, AF_INET6, bind), index);
  }

  /** @throws {KernelError} such that isLost tells that the link did not take it. */
  send(data: Uint8Array, ip: IP, port: number): void {
    this.#socket.send(data, addressOf(this.#index, ip, port));
  }

  /** @returns What arrived, with the port that it came from; undefined when nothing is there. */
  receive(): { readonly data: Buffer; readonly port: number } | undefined {
    const received = this.#socket.receive();
    return received && { data: received.data, port: received.address.readUInt16BE(portOffset) };
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

function addressOf(index: number, { bytes }: IP, port: number): Buffer {
  const address = Buffer.alloc(addressSize);
  address.writeUInt16LE(AF_INET6, 0);
  address.writeUInt16BE(port, portOffset);
  address.set(bytes, ipOffset);
  address.writeUInt32LE(index, scopeOffset);
  return address;
}
