import { isKernelError, KernelError } from '../errors.ts';
import { close, Inbox, receiveNow, receiveOnThread, sendOnThread, setSocketOption, socket } from '../libc.ts';
import type { NetworkNamespace } from '../namespace.ts';

/** How netlink messages travel to the kernel and back, a datagram at a time. */
export interface Transport extends Disposable {
  /** @throws {KernelError} when the kernel did not take it. It has done nothing then. */
  send(data: Buffer): Promise<void>;
  /** A datagram that is there already; one without a message when it was not the kernel's. @throws {KernelError} */
  receiveNow(): Buffer | undefined;
  /** Waits for a datagram, without the event loop. @throws {KernelError} EAGAIN when none came in time. */
  receive(): Promise<Buffer>;
}

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

const EMSGSIZE = 90;

/** struct sockaddr_nl: the family, padding, then the port of the sender, of which the kernel's is 0. */
const addressSize = 12;
const portOffset = 4;

/** The kernel fills at most half of this with one datagram of a dump (netlink_recvmsg, af_netlink.c). */
const receiveSize = 65_536;

/** Datagrams that need no waiting are read, and copied, before anything else runs: one inbox serves all sockets. */
const sharedInbox = new Inbox(receiveSize, addressSize);

/**
 * Opens a netlink socket in a namespace.
 *
 * @param protocol Such as NETLINK_ROUTE, 0.
 * @param timeout Seconds to wait for a datagram.
 * @throws {KernelError}
 */
export function openTransport(namespace: NetworkNamespace, protocol: number, timeout: number): Transport {
  const fd = namespace.run(() => socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  try {
    setOptions(fd, timeout);
  } catch (error) {
    close(fd);
    throw error;
  }
  return new SocketTransport(fd);
}

function setOptions(fd: number, timeout: number): void {
  const timeval = Buffer.alloc(16);
  timeval.writeBigInt64LE(BigInt(timeout));
  setSocketOption(fd, SOL_SOCKET, SO_RCVTIMEO, timeval);
  const on = Uint8Array.of(1, 0, 0, 0);
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    try {
      setSocketOption(fd, SOL_NETLINK, option, on);
    } catch (error) {
      // Linux 4.18 has none but the first: errors are told without words then, and lists are filtered here alone.
      if (!isKernelError(error, 'ENOPROTOOPT')) throw error;
    }
  }
}

class SocketTransport implements Transport {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async send(data: Buffer): Promise<void> {
    await sendOnThread(this.#fd, data);
  }

  receiveNow(): Buffer | undefined {
    const length = receiveNow(this.#fd, sharedInbox);
    return length === undefined ? undefined : Buffer.from(fromKernel(sharedInbox, length));
  }

  async receive(): Promise<Buffer> {
    const inbox = new Inbox(receiveSize, addressSize);
    for (;;) {
      try {
        return fromKernel(inbox, await receiveOnThread(this.#fd, inbox));
      } catch (error) {
        // A signal, such as of a child that ended, may reach any thread; with a timeout set, the call is not restarted.
        if (!isKernelError(error, 'EINTR')) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }
}

/** Whoever has CAP_NET_ADMIN in a namespace, as pods may, can send to every netlink socket there: only port 0 counts. */
function fromKernel({ data, address }: Inbox, length: number): Buffer {
  if (address.readUInt32LE(portOffset) !== 0) return data.subarray(0, 0);
  if (length > data.length) throw new KernelError(`receive a datagram of ${length} bytes`, EMSGSIZE);
  return data.subarray(0, length);
}
