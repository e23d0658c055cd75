import { createPublicKey, type KeyObject, sign } from 'node:crypto';

/** Who a certificate is for. */
export interface Subject {
  readonly commonName: string;
  readonly organization: string;
}

/** Tags of ASN.1 (X.690, section 8). */
const Tag = { integer: 0x02, bitString: 0x03, utf8String: 0x0c, sequence: 0x30, set: 0x31, attributes: 0xa0 } as const;

/** Object identifiers as DER has them, tag and length included. */
const oid = {
  /** 2.5.4.3 */
  commonName: Buffer.from('0603550403', 'hex'),
  /** 2.5.4.10 */
  organization: Buffer.from('060355040a', 'hex'),
  /** 1.2.840.10045.4.3.2 (RFC 5758, section 3.2) */
  ecdsaWithSha256: Buffer.from('06082a8648ce3d040302', 'hex'),
};

/**
 * Asks for a certificate: a PKCS #10 request (RFC 2986, section 4) without attributes, as PEM.
 *
 * @param key A private key of an elliptic curve, which the request is signed with.
 */
export function certificateRequest({ commonName, organization }: Subject, key: KeyObject): string {
  const name = der(Tag.sequence, attribute(oid.organization, organization), attribute(oid.commonName, commonName));
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const version = der(Tag.integer, Buffer.of(0));
  const info = der(Tag.sequence, version, name, publicKey, der(Tag.attributes));
  const algorithm = der(Tag.sequence, oid.ecdsaWithSha256);
  const signature = der(Tag.bitString, Buffer.of(0), sign('sha256', info, key));
  return pem('CERTIFICATE REQUEST', der(Tag.sequence, info, algorithm, signature));
}

/** A relative distinguished name of one attribute. */
function attribute(type: Buffer, value: string): Buffer {
  return der(Tag.set, der(Tag.sequence, type, der(Tag.utf8String, Buffer.from(value))));
}

/** A value in the distinguished encoding (X.690, section 10.1): tag, length in as few bytes as will do, content. */
function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const length =
    content.length < 0x100 ? Buffer.of(content.length) : Buffer.of(content.length >> 8, content.length & 0xff);
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, content]);
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString('base64').replaceAll(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}
