/*
 * Netlink attributes (linux/netlink.h, struct nlattr): a length that counts its own header, a type, the value, and
 * padding to four bytes. Integers are in the byte order of the machine, which is little on x64 and arm64.
 */

const headerLength = 4;
/** NLA_F_NESTED | NLA_F_NET_BYTEORDER: flags in the type's upper bits. */
const typeMask = 0x3fff;
const NLA_F_NESTED = 0x8000;

/** To four bytes, in arithmetic that holds for any length that a hostile message may state. */
export const alignUp = (length: number): number => Math.ceil(length / 4) * 4;

/** An encoded attribute, padded. */
export type Attribute = Buffer;

/** @throws {RangeError} when the value is longer than 65,531 bytes. */
export function bytes(type: number, value: Uint8Array): Attribute {
  const attribute = Buffer.alloc(alignUp(headerLength + value.length));
  attribute.writeUInt16LE(headerLength + value.length, 0);
  attribute.writeUInt16LE(type, 2);
  attribute.set(value, headerLength);
  return attribute;
}

export const flag = (type: number): Attribute => bytes(type, Buffer.alloc(0));

/** @throws {RangeError} as those below, when the value does not fit. */
export function u8(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(1);
  buffer.writeUInt8(value);
  return bytes(type, buffer);
}

export function u16(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16LE(value);
  return bytes(type, buffer);
}

/** A number in network byte order, such as a port. */
export function be16(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(2);
  buffer.writeUInt16BE(value);
  return bytes(type, buffer);
}

export function u32(type: number, value: number): Attribute {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return bytes(type, buffer);
}

/**
 * A string with the zero byte that the kernel expects at its end.
 *
 * @throws {Error} when the text has one of its own: the kernel would take what comes before for the whole.
 */
export function text(type: number, value: string): Attribute {
  if (value.includes('\0')) throw new Error(`${JSON.stringify(value)} has a zero byte in it`);
  return bytes(type, Buffer.from(`${value}\0`));
}

export const nested = (type: number, attributes: readonly Attribute[]): Attribute =>
  bytes(type | NLA_F_NESTED, Buffer.concat(attributes));

/** The attributes of a message by their types. Of a type that comes twice, the last one counts, as in the kernel. */
export class Attributes {
  readonly #values: ReadonlyMap<number, Buffer>;

  private constructor(values: ReadonlyMap<number, Buffer>) {
    this.#values = values;
  }

  /** Reads as many attributes as are whole. What follows the first broken one is not read. */
  static decode(data: Buffer): Attributes {
    return new Attributes(new Map(eachAttribute(data)));
  }

  bytes(type: number): Buffer | undefined {
    return this.#values.get(type);
  }

  has(type: number): boolean {
    return this.#values.has(type);
  }

  u8(type: number): number | undefined {
    return this.#sized(type, 1)?.readUInt8();
  }

  u16(type: number): number | undefined {
    return this.#sized(type, 2)?.readUInt16LE();
  }

  be16(type: number): number | undefined {
    return this.#sized(type, 2)?.readUInt16BE();
  }

  u32(type: number): number | undefined {
    return this.#sized(type, 4)?.readUInt32LE();
  }

  s32(type: number): number | undefined {
    return this.#sized(type, 4)?.readInt32LE();
  }

  text(type: number): string | undefined {
    const value = this.#values.get(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString('utf8', 0, end < 0 ? value.length : end);
  }

  nested(type: number): Attributes | undefined {
    const value = this.#values.get(type);
    return value && Attributes.decode(value);
  }

  #sized(type: number, size: number): Buffer | undefined {
    const value = this.#values.get(type);
    return value !== undefined && value.length >= size ? value : undefined;
  }
}

/** Each attribute in turn, for lists in which one type comes many times. */
export function* eachAttribute(data: Buffer): Generator<[type: number, value: Buffer]> {
  let offset = 0;
  while (offset + headerLength <= data.length) {
    const length = data.readUInt16LE(offset);
    if (length < headerLength || offset + length > data.length) return;
    yield [data.readUInt16LE(offset + 2) & typeMask, data.subarray(offset + headerLength, offset + length)];
    offset += alignUp(length);
  }
}
