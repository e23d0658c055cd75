/* Messages of DHCP: RFC 2131, section 2; options: RFC 2132, and RFC 3396 for those longer than 255 bytes. */

/** The codes of options that are written or read here (RFC 2132). */
export const Option = {
  pad: 0,
  subnetMask: 1,
  router: 3,
  domainNameServer: 6,
  hostName: 12,
  domainName: 15,
  staticRoute: 33,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequestList: 55,
  message: 56,
  maximumMessageSize: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClassIdentifier: 60,
  clientIdentifier: 61,
  userClass: 77,
  /** RFC 3397 */
  domainSearch: 119,
  /** RFC 3442 */
  classlessStaticRoute: 121,
  end: 255,
} as const;

/** RFC 2132, section 9.6. */
export const MessageType = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7 } as const;

export type Options = ReadonlyMap<number, Uint8Array>;

export interface Message {
  readonly isReply: boolean;
  /** Transaction, 32 bits. */
  readonly xid: number;
  /** Seconds since the client began. */
  readonly seconds: number;
  /** The client cannot be reached by its address yet: answers go to everybody. */
  readonly broadcast: boolean;
  /** ciaddr: the address that the client has. Four bytes, as `yourAddress`. */
  readonly clientAddress: Uint8Array;
  /** yiaddr: the address that the client is to have. */
  readonly yourAddress: Uint8Array;
  /** chaddr: the client's hardware address, of six bytes. */
  readonly hardwareAddress: Uint8Array;
  readonly options: Options;
}

const bootRequest = 1;
const bootReply = 2;
const ethernet = 1;
const hardwareAddressLength = 6;
const broadcastFlag = 0x8000;
const cookie = 0x63825363;

const hardwareAddressOffset = 28;
const serverNameOffset = 44;
const fileOffset = 108;
const cookieOffset = 236;
const optionsOffset = 240;
/** BOOTP's, which relays of old go by (RFC 1542, section 2.1). */
const shortest = 300;
const longestOption = 255;

export function encodeMessage(message: Message): Buffer {
  const head = Buffer.alloc(optionsOffset);
  head.set([message.isReply ? bootReply : bootRequest, ethernet, hardwareAddressLength]);
  head.writeUInt32BE(message.xid, 4);
  head.writeUInt16BE(Math.min(message.seconds, 0xffff), 8);
  head.writeUInt16BE(message.broadcast ? broadcastFlag : 0, 10);
  head.set(message.clientAddress, 12);
  head.set(message.yourAddress, 16);
  head.set(message.hardwareAddress, hardwareAddressOffset);
  head.writeUInt32BE(cookie, cookieOffset);
  const sorted = [...message.options].sort(([a], [b]) => a - b);
  const options = sorted.flatMap(([code, value]) => encodeOption(code, value));
  const packet = Buffer.concat([head, ...options, Uint8Array.of(Option.end)]);
  return packet.length >= shortest ? packet : Buffer.concat([packet], shortest);
}

/** In parts where it is longer than a length can say (RFC 3396, section 6). */
function encodeOption(code: number, value: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let rest = value;
  do {
    const part = rest.subarray(0, longestOption);
    parts.push(Uint8Array.of(code, part.length), part);
    rest = rest.subarray(longestOption);
  } while (rest.length > 0);
  return parts;
}

/** @returns undefined for what is no message of DHCP. */
export function decodeMessage(packet: Buffer): Message | undefined {
  if (packet.length < optionsOffset || packet.readUInt32BE(cookieOffset) !== cookie) return undefined;
  const operation = packet.readUInt8(0);
  if (operation !== bootRequest && operation !== bootReply) return undefined;
  if (packet.readUInt8(1) !== ethernet || packet.readUInt8(2) !== hardwareAddressLength) return undefined;
  const options = decodeOptions(packet);
  if (options.get(Option.messageType)?.length !== 1) return undefined;
  return {
    isReply: operation === bootReply,
    xid: packet.readUInt32BE(4),
    seconds: packet.readUInt16BE(8),
    broadcast: (packet.readUInt16BE(10) & broadcastFlag) !== 0,
    clientAddress: packet.subarray(12, 16),
    yourAddress: packet.subarray(16, 20),
    hardwareAddress: packet.subarray(hardwareAddressOffset, hardwareAddressOffset + hardwareAddressLength),
    options,
  };
}

/** Parts of one option are put together, in the order of RFC 3396, section 5: options, file, sname. */
function decodeOptions(packet: Buffer): Options {
  const parts = new Map<number, Uint8Array[]>();
  collect(packet.subarray(optionsOffset), parts);
  const overload = parts.get(Option.overload)?.[0]?.[0] ?? 0;
  if ((overload & 1) !== 0) collect(packet.subarray(fileOffset, cookieOffset), parts);
  if ((overload & 2) !== 0) collect(packet.subarray(serverNameOffset, fileOffset), parts);
  return new Map([...parts].map(([code, list]) => [code, Buffer.concat(list)]));
}

/** Up to the end, or to an option that says it is longer than what is left. */
function collect(field: Uint8Array, parts: Map<number, Uint8Array[]>): void {
  let offset = 0;
  for (;;) {
    const code = field[offset++];
    if (code === undefined || code === Option.end) return;
    if (code === Option.pad) continue;
    const length = field[offset++];
    if (length === undefined || offset + length > field.length) return;
    const list = parts.get(code) ?? [];
    list.push(field.subarray(offset, offset + length));
    parts.set(code, list);
    offset += length;
  }
}

export const typeOf = ({ options }: Pick<Message, 'options'>): number => options.get(Option.messageType)?.[0] ?? 0;
