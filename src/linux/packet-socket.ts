import { DatagramSocket } from './datagram-socket.ts';
import { attachFilter, bindSocket, type FilterInstruction } from './libc.ts';
import type { NetworkNamespace } from './namespace.ts';

/*
 * IPv4 packets of one interface, before and beside the kernel's own IPv4: packet(7). What an interface without an address
 * sends and receives.
 */

/** <sys/socket.h> */
const AF_PACKET = 17;
/** linux/if_ether.h */
const ETH_P_IP = 0x0800;

/** struct sockaddr_ll of linux/if_packet.h, whose hardware address has 8 bytes at its end. */
const addressSize = 20;
const protocolOffset = 2;
const indexOffset = 4;
const lengthOffset = 11;
const hardwareAddressOffset = 12;
const macLength = 6;

/** linux/filter.h, linux/bpf_common.h: what is loaded is a byte (B) or two (H) at a place, or at the index register's (IND). */
const loadByte = 0x30;
const loadHalfWord = 0x28;
const loadHalfWordFromIndex = 0x48;
const loadHeaderLengthIntoIndex = 0xb1;
const jumpIfEqual = 0x15;
const jumpIfAnyBit = 0x45;
const accept = 0x06;

const protocolUdp = 17;
const largestPacket = 65_535;

export const broadcastMac = 'ff:ff:ff:ff:ff:ff';

export interface Packet {
  /** From the IPv4 header on. */
  readonly data: Buffer;
  /** Hardware address of the sender, lower case with colons; empty where the link has none. */
  readonly from: string;
}

/** A socket for IPv4 packets with UDP to one port, from the one interface that it is bound to. It never waits. */
export class PacketSocket implements Disposable {
  readonly #socket: DatagramSocket;
  readonly #index: number;

  private constructor(socket: DatagramSocket, index: number) {
    this.#socket = socket;
    this.#index = index;
  }

  /**
   * @param index Of the interface.
   * @param port The port of UDP that packets must be for. All others are dropped by the kernel.
   * @throws {KernelError} ENODEV when there is no such interface.
   */
  static open(namespace: NetworkNamespace, index: number, port: number): PacketSocket {
    // It receives from its binding on only, and with the filter: the protocol is told there.
    const bind = (fd: number): void => {
      attachFilter(fd, udpTo(port));
      bindSocket(fd, addressOf(index));
    };
    return new PacketSocket(DatagramSocket.open(namespace, AF_PACKET, bind), index);
  }

  /**
   * Sends a packet, from the IPv4 header on.
   *
   * @param mac Hardware address of who is to get it.
   * @throws {KernelError} ENETDOWN when the interface is down, ENXIO when it is gone.
   */
  send(data: Uint8Array, mac: string): void {
    this.#socket.send(data, addressOf(this.#index, mac));
  }

  /** @returns undefined when none is there. @throws {KernelError} ENETDOWN once, when the interface went down. */
  receive(): Packet | undefined {
    const received = this.#socket.receive();
    if (received === undefined) return undefined;
    const { data, address } = received;
    const hardwareAddress = address.subarray(hardwareAddressOffset, hardwareAddressOffset + macLength);
    const from = address[lengthOffset] === macLength ? hardwareAddress.toString('hex').replace(/..(?=.)/g, '$&:') : '';
    return { data, from };
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

function addressOf(index: number, mac?: string): Buffer {
  const address = Buffer.alloc(addressSize);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_IP, protocolOffset);
  address.writeInt32LE(index, indexOffset);
  if (mac !== undefined) {
    address.writeUInt8(macLength, lengthOffset);
    address.write(mac.replaceAll(':', ''), hardwareAddressOffset, macLength, 'hex');
  }
  return address;
}

/** UDP to a port, in the first or only fragment. Jumps count the instructions that they pass over. */
function udpTo(port: number): readonly FilterInstruction[] {
  return [
    { code: loadByte, k: 9 },
    { code: jumpIfEqual, k: protocolUdp, ifFalse: 6 },
    { code: loadHalfWord, k: 6 },
    { code: jumpIfAnyBit, k: 0x1fff, ifTrue: 4 },
    { code: loadHeaderLengthIntoIndex, k: 0 },
    { code: loadHalfWordFromIndex, k: 2 },
    { code: jumpIfEqual, k: port, ifFalse: 1 },
    { code: accept, k: largestPacket },
    { code: accept, k: 0 },
  ];
}
