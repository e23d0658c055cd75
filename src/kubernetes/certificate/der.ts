/* The distinguished encoding of ASN.1 (X.690), as much of it as certificates and requests for them are made of. Nothing is read. */

/** Who a certificate is for. */
export interface Subject {
  readonly commonName: string;
  readonly organization: string;
}

/** Tags (X.690, section 8). Those of a context are the fields' of what they stand in. */
export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** Of a context, primitive and constructed. */
  context: (field: number): number => 0x80 | field,
  constructed: (field: number): number => 0xa0 | field,
} as const;

/** Object identifiers, tag and length included. */
export const oid = {
  /** 2.5.4.3 */
  commonName: Buffer.from('0603550403', 'hex'),
  /** 2.5.4.10 */
  organization: Buffer.from('060355040a', 'hex'),
  /** 1.2.840.10045.4.3.2 (RFC 5758, section 3.2) */
  ecdsaWithSha256: Buffer.from('06082a8648ce3d040302', 'hex'),
  /** 2.5.29.14, 15, 17, 19, 35 and 37 (RFC 5280, section 4.2.1) */
  subjectKeyIdentifier: Buffer.from('0603551d0e', 'hex'),
  keyUsage: Buffer.from('0603551d0f', 'hex'),
  subjectAltName: Buffer.from('0603551d11', 'hex'),
  basicConstraints: Buffer.from('0603551d13', 'hex'),
  authorityKeyIdentifier: Buffer.from('0603551d23', 'hex'),
  extendedKeyUsage: Buffer.from('0603551d25', 'hex'),
  /** 1.3.6.1.5.5.7.3.1 (RFC 5280, section 4.2.1.12) */
  serverAuth: Buffer.from('06082b06010505070301', 'hex'),
} as const;

/** The name of a subject or an issuer. */
export function distinguishedName({ commonName, organization }: Subject): Buffer {
  return der(Tag.sequence, attribute(oid.organization, organization), attribute(oid.commonName, commonName));
}

/** A relative distinguished name of one attribute. */
function attribute(type: Buffer, value: string): Buffer {
  return der(Tag.set, der(Tag.sequence, type, der(Tag.utf8String, Buffer.from(value))));
}

/** A value (X.690, section 10.1): tag, length in as few bytes as will do, content of up to 64 KiB. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const length =
    content.length < 0x100 ? Buffer.of(content.length) : Buffer.of(content.length >> 8, content.length & 0xff);
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, content]);
}

export function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
