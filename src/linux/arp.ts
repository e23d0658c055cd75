import { formatIP, type IP } from '../net/ip.ts';
import { DatagramSocket } from './datagram-socket.ts';
import { encodeMac } from './link.ts';
import type { NetworkNamespace } from './namespace.ts';

/* Announcements of IPv4 addresses: RFC 5227, section 3, sent by packet(7). */

/** <sys/socket.h> */
const AF_PACKET = 17;
/** linux/if_ether.h */
const ETH_P_IP = 0x0800;
const ETH_P_ARP = 0x0806;
/** linux/if_arp.h */
const ARPHRD_ETHER = 1;
const ARPOP_REQUEST = 1;

const macLength = 6;
const broadcast = Buffer.alloc(macLength, 0xff);

/**
 * Tells all neighbours of an Ethernet interface that an address is there, so that they do not go on sending to whoever had it
 * before.
 *
 * @param index Of the interface, which must be up; without a carrier nobody hears of it.
 * @param mac Of the interface.
 * @throws {KernelError} ENETDOWN when the interface is down, ENXIO when it is gone.
 */
export function announceAddress(namespace: NetworkNamespace, index: number, mac: string, address: IP): void {
  using socket = DatagramSocket.open(namespace, AF_PACKET, () => undefined);
  socket.send(announcement(encodeMac(mac), address), everybodyAt(index));
}

/** struct arphdr and what follows it for Ethernet and IPv4: a request for the address by the one that has it. */
function announcement(mac: Buffer, address: IP): Buffer {
  const ip = Buffer.from(formatIP(address).split('.').map(Number));
  const header = Buffer.alloc(8);
  header.writeUInt16BE(ARPHRD_ETHER, 0);
  header.writeUInt16BE(ETH_P_IP, 2);
  header.writeUInt8(macLength, 4);
  header.writeUInt8(ip.length, 5);
  header.writeUInt16BE(ARPOP_REQUEST, 6);
  return Buffer.concat([header, mac, ip, Buffer.alloc(macLength), ip]);
}

/** struct sockaddr_ll of linux/if_packet.h, whose hardware address has room for 8 bytes. */
function everybodyAt(index: number): Buffer {
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ARP, 2);
  address.writeInt32LE(index, 4);
  address.writeUInt8(macLength, 11);
  address.set(broadcast, 12);
  return address;
}
