import type { IP } from '../../../net/ip.ts';

/* IPv4 (RFC 791) and UDP (RFC 768) around a message, for an interface that has no address to send from. */

const ipHeaderLength = 20;
const udpHeaderLength = 8;
const protocolUdp = 17;
const timeToLive = 64;
const versionAndLength = 0x45;
/** What a zero sum is sent as: zero says that there is none. */
const sumOfZero = 0xffff;

export interface Datagram {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly payload: Buffer;
}

export interface Endpoint {
  /** Of IPv4. */
  readonly ip: IP;
  readonly port: number;
}

/** The packet, from its IPv4 header on. */
export function encodeDatagram({ source, destination, payload }: Datagram): Buffer {
  const packet = Buffer.alloc(ipHeaderLength + udpHeaderLength + payload.length);
  packet.writeUInt8(versionAndLength, 0);
  packet.writeUInt16BE(packet.length, 2);
  packet.writeUInt8(timeToLive, 8);
  packet.writeUInt8(protocolUdp, 9);
  packet.set(source.ip.bytes, 12);
  packet.set(destination.ip.bytes, 16);
  packet.writeUInt16BE(checksum(packet.subarray(0, ipHeaderLength)), 10);

  const datagram = packet.subarray(ipHeaderLength);
  datagram.writeUInt16BE(source.port, 0);
  datagram.writeUInt16BE(destination.port, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  datagram.set(payload, udpHeaderLength);
  datagram.writeUInt16BE(checksum(datagram, pseudoHeaderSum(packet, datagram.length)) || sumOfZero, 6);
  return packet;
}

/** @returns undefined for what is no whole datagram, or was damaged on its way. */
export function decodeDatagram(packet: Buffer): Datagram | undefined {
  const headerLength = ((packet[0] ?? 0) & 0x0f) * 4;
  if (packet.length < headerLength + udpHeaderLength || headerLength < ipHeaderLength) return undefined;
  const total = packet.readUInt16BE(2);
  const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  if (packet.readUInt8(0) >> 4 !== 4 || packet.readUInt8(9) !== protocolUdp || isFragment) return undefined;
  if (total > packet.length || checksum(packet.subarray(0, headerLength)) !== 0) return undefined;

  const datagram = packet.subarray(headerLength, total);
  if (datagram.length < udpHeaderLength) return undefined;
  const length = datagram.readUInt16BE(4);
  if (length < udpHeaderLength || length > datagram.length) return undefined;
  if (!isIntact(packet, datagram.subarray(0, length))) return undefined;
  return {
    source: { ip: { family: 4, bytes: packet.subarray(12, 16) }, port: datagram.readUInt16BE(0) },
    destination: { ip: { family: 4, bytes: packet.subarray(16, 20) }, port: datagram.readUInt16BE(2) },
    payload: datagram.subarray(udpHeaderLength, length),
  };
}

/**
 * Whether the checksum is right, absent, or left to a network card that the packet never came to: from a neighbour on the
 * same node it has the sum of the pseudo-header only (Documentation/networking/checksum-offloads.rst).
 */
function isIntact(packet: Buffer, datagram: Buffer): boolean {
  const stated = datagram.readUInt16BE(6);
  const pseudoHeader = pseudoHeaderSum(packet, datagram.length);
  return stated === 0 || stated === folded(pseudoHeader) || checksum(datagram, pseudoHeader) === 0;
}

function pseudoHeaderSum(packet: Buffer, udpLength: number): number {
  let sum = protocolUdp + udpLength;
  for (let offset = 12; offset < ipHeaderLength; offset += 2) sum += packet.readUInt16BE(offset);
  return sum;
}

/** The internet checksum (RFC 1071): zero over what contains its own. */
function checksum(data: Buffer, start = 0): number {
  let sum = start;
  for (let offset = 0; offset + 1 < data.length; offset += 2) sum += data.readUInt16BE(offset);
  if (data.length % 2 === 1) sum += data.readUInt8(data.length - 1) << 8;
  return ~folded(sum) & 0xffff;
}

function folded(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x10000);
  return rest;
}

export const anyAddress: IP = { family: 4, bytes: new Uint8Array(4) };
export const everybody: IP = { family: 4, bytes: new Uint8Array(4).fill(255) };

/** Whether one host alone can have the address, on a network: none of 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on. */
export function isHostAddress(ip: IP): boolean {
  const [first = 0] = ip.bytes;
  return ip.family === 4 && first > 0 && first !== 127 && first < 224;
}
