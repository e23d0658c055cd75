/* Messages between clients and servers of DHCPv6: RFC 8415, section 8; options: section 21, RFC 3646. */

/** Section 7.3. */
export const MessageType = { solicit: 1, advertise: 2, request: 3, renew: 5, rebind: 6, reply: 7, release: 8 } as const;

/** The codes of options that are written or read here (section 21). */
export const Option = {
  clientIdentifier: 1,
  serverIdentifier: 2,
  association: 3,
  address: 5,
  optionRequest: 6,
  elapsedTime: 8,
  status: 13,
  /** RFC 3646 */
  nameServers: 23,
  domainList: 24,
  longestSolicitation: 82,
} as const;

/** Section 21.13. */
export const StatusCode = {
  success: 0,
  unspecified: 1,
  noAddresses: 2,
  noBinding: 3,
  notOnLink: 4,
  useMulticast: 5,
} as const;

export type Options = readonly (readonly [code: number, value: Uint8Array])[];

export interface Message {
  readonly type: number;
  /** 24 bits. */
  readonly transaction: number;
  readonly options: Options;
}

/** What a server grants to an identity of a client: IA_NA. Times are seconds. */
export interface Association {
  readonly id: number;
  readonly renewAfter: number;
  readonly rebindAfter: number;
  readonly addresses: readonly AssociationAddress[];
  readonly status?: Status | undefined;
}

export interface AssociationAddress {
  /** Sixteen bytes. */
  readonly bytes: Uint8Array;
  readonly preferred: number;
  readonly valid: number;
}

export interface Status {
  readonly code: number;
  /** For people, on one line. */
  readonly text: string;
}

const headerLength = 4;
const optionHeaderLength = 4;
const associationLength = 12;
const addressLength = 16;
const addressOptionLength = 24;
const longestText = 200;

export function encodeMessage({ type, transaction, options }: Message): Buffer {
  const header = Buffer.alloc(headerLength);
  header.writeUInt32BE(transaction);
  header.writeUInt8(type, 0);
  return Buffer.concat([header, encodeOptions(options)]);
}

/** @returns undefined for what is no message, or has an option that says it is longer than what is left. */
export function decodeMessage(packet: Buffer): Message | undefined {
  if (packet.length < headerLength) return undefined;
  const options = decodeOptions(packet.subarray(headerLength));
  return options && { type: packet.readUInt8(0), transaction: packet.readUIntBE(1, 3), options };
}

function encodeOptions(options: Options): Buffer {
  return Buffer.concat(
    options.flatMap(([code, value]) => {
      const header = Buffer.alloc(optionHeaderLength);
      header.writeUInt16BE(code, 0);
      header.writeUInt16BE(value.length, 2);
      return [header, value];
    }),
  );
}

function decodeOptions(field: Buffer): Options | undefined {
  const found: (readonly [number, Uint8Array])[] = [];
  for (let offset = 0; offset < field.length; ) {
    const start = offset + optionHeaderLength;
    if (start > field.length) return undefined;
    const end = start + field.readUInt16BE(offset + 2);
    if (end > field.length) return undefined;
    found.push([field.readUInt16BE(offset), field.subarray(start, end)]);
    offset = end;
  }
  return found;
}

/** The first option of a code. */
export const optionOf = (options: Options, code: number): Uint8Array | undefined =>
  options.find(([each]) => each === code)?.[1];

/** Section 21.4, with the addresses of section 21.6. */
export function encodeAssociation({ id, renewAfter, rebindAfter, addresses, status }: Association): Uint8Array {
  const header = Buffer.alloc(associationLength);
  header.writeUInt32BE(id, 0);
  header.writeUInt32BE(renewAfter, 4);
  header.writeUInt32BE(rebindAfter, 8);
  const options: (readonly [number, Uint8Array])[] = addresses.map(({ bytes, preferred, valid }) => {
    const value = Buffer.alloc(addressOptionLength);
    value.set(bytes);
    value.writeUInt32BE(preferred, addressLength);
    value.writeUInt32BE(valid, addressLength + 4);
    return [Option.address, value];
  });
  if (status !== undefined) options.push([Option.status, encodeStatus(status)]);
  return Buffer.concat([header, encodeOptions(options)]);
}

/** @returns undefined where a message has none of that identity, or a torn one. */
export function associationIn(options: Options, id: number): Association | undefined {
  for (const [code, bytes] of options) {
    const value = Buffer.from(bytes);
    if (code !== Option.association || value.length < associationLength || value.readUInt32BE(0) !== id) continue;
    const inner = decodeOptions(value.subarray(associationLength));
    if (inner === undefined) return undefined;
    return {
      id,
      renewAfter: value.readUInt32BE(4),
      rebindAfter: value.readUInt32BE(8),
      addresses: inner.flatMap(([each, field]) => (each === Option.address ? addressIn(field) : [])),
      status: statusIn(inner),
    };
  }
  return undefined;
}

/** One that is too short is passed over, and one whose own status (section 21.6) is that it cannot be had. */
function addressIn(field: Uint8Array): AssociationAddress[] {
  const value = Buffer.from(field);
  if (value.length < addressOptionLength) return [];
  const inner = decodeOptions(value.subarray(addressOptionLength));
  if (inner === undefined || (statusIn(inner)?.code ?? StatusCode.success) !== StatusCode.success) return [];
  return [
    {
      bytes: Uint8Array.from(value.subarray(0, addressLength)),
      preferred: value.readUInt32BE(addressLength),
      valid: value.readUInt32BE(addressLength + 4),
    },
  ];
}

function encodeStatus({ code, text }: Status): Uint8Array {
  const value = Buffer.from(`  ${text}`);
  value.writeUInt16BE(code, 0);
  return value;
}

/** Section 21.13. Absent: success. */
export function statusIn(options: Options): Status | undefined {
  const value = Buffer.from(optionOf(options, Option.status) ?? []);
  if (value.length < 2) return undefined;
  const text = value.subarray(2, 2 + longestText).toString('latin1');
  return { code: value.readUInt16BE(0), text: text.replace(/[^ -~]/g, '?') };
}
