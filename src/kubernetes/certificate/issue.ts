import { createHash, createPublicKey, generateKeyPair, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import { parseIP } from '../../net/ip.ts';
import { der, distinguishedName, oid, pem, type Subject, Tag } from './der.ts';

export interface ServingRequest {
  /** What the server is called by its clients: DNS names and IP addresses. */
  readonly names: readonly [string, ...string[]];
  readonly organization: string;
  /** Milliseconds since 1970, whole seconds counted. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A certificate for a server, with its key and the authority that it is to be checked by, all as PEM. */
export interface Serving {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
}

/**
 * Makes an authority and a certificate that it signs (RFC 5280), with keys on P-256. The authority's key is forgotten here:
 * nobody can sign another certificate with it.
 */
export async function issueServing({ names, organization, ...validity }: ServingRequest): Promise<Serving> {
  const [authorityKey, servingKey] = await Promise.all([newKey(), newKey()]);
  const [firstName] = names;
  // The common name is of 64 characters at most (RFC 5280, appendix A.1); it is the alternative names that count.
  const subject = { commonName: firstName.slice(0, 64), organization };
  // Told apart from the authority before it, which clients may know at the same time.
  const issuer = { commonName: `${organization} authority ${randomBytes(8).toString('hex')}`, organization };
  const authority = certificate({
    ...validity,
    issuer,
    subject: issuer,
    publicKey: authorityKey,
    extensions: [
      // An authority, of end entities alone; keyCertSign is bit 5.
      extension(
        oid.basicConstraints,
        true,
        der(Tag.sequence, der(Tag.boolean, Buffer.of(0xff)), der(Tag.integer, Buffer.of(0))),
      ),
      extension(oid.keyUsage, true, der(Tag.bitString, Buffer.of(2, 0x04))),
      extension(oid.subjectKeyIdentifier, false, der(Tag.octetString, keyIdentifier(authorityKey))),
    ],
    signedBy: authorityKey,
  });
  const serving = certificate({
    ...validity,
    issuer,
    subject,
    publicKey: servingKey,
    extensions: [
      extension(oid.basicConstraints, true, der(Tag.sequence)),
      // digitalSignature is bit 0.
      extension(oid.keyUsage, true, der(Tag.bitString, Buffer.of(7, 0x80))),
      extension(oid.extendedKeyUsage, false, der(Tag.sequence, oid.serverAuth)),
      extension(oid.subjectAltName, false, der(Tag.sequence, ...names.map(generalName))),
      extension(oid.authorityKeyIdentifier, false, der(Tag.sequence, der(Tag.context(0), keyIdentifier(authorityKey)))),
    ],
    signedBy: authorityKey,
  });
  return { authority, certificate: serving, key: servingKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

async function newKey(): Promise<KeyObject> {
  return (await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })).privateKey;
}

interface Content {
  readonly issuer: Subject;
  readonly subject: Subject;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Or the private key that it belongs to. */
  readonly publicKey: KeyObject;
  readonly extensions: readonly Buffer[];
  readonly signedBy: KeyObject;
}

/** Certificate and TBSCertificate of RFC 5280, section 4.1. */
function certificate({ issuer, subject, notBefore, notAfter, publicKey, extensions, signedBy }: Content): string {
  const algorithm = der(Tag.sequence, oid.ecdsaWithSha256);
  const info = der(
    Tag.sequence,
    der(Tag.constructed(0), der(Tag.integer, Buffer.of(2))),
    der(Tag.integer, serialNumber()),
    algorithm,
    distinguishedName(issuer),
    der(Tag.sequence, time(notBefore), time(notAfter)),
    distinguishedName(subject),
    spki(publicKey),
    der(Tag.constructed(3), der(Tag.sequence, ...extensions)),
  );
  const signature = der(Tag.bitString, Buffer.of(0), sign('sha256', info, signedBy));
  return pem('CERTIFICATE', der(Tag.sequence, info, algorithm, signature));
}

const spki = (key: KeyObject): Buffer => createPublicKey(key).export({ type: 'spki', format: 'der' });

/** By the fourth method of RFC 7093, section 2. */
const keyIdentifier = (key: KeyObject): Buffer => createHash('sha256').update(spki(key)).digest().subarray(0, 20);

/** Positive, of 16 bytes, all but two bits of them at random. */
function serialNumber(): Buffer {
  const [first = 0, ...rest] = randomBytes(16);
  return Buffer.of((first & 0x3f) | 0x40, ...rest);
}

/** UTCTime to the end of 2049, GeneralizedTime from 2050 on (RFC 5280, section 4.1.2.5). */
function time(milliseconds: number): Buffer {
  const digits = `${new Date(milliseconds).toISOString().replaceAll(/[-:T]|\..*$/g, '')}Z`;
  return digits < '2050'
    ? der(Tag.utcTime, Buffer.from(digits.slice(2)))
    : der(Tag.generalizedTime, Buffer.from(digits));
}

function extension(id: Buffer, isCritical: boolean, value: Buffer): Buffer {
  const critical = isCritical ? [der(Tag.boolean, Buffer.of(0xff))] : [];
  return der(Tag.sequence, id, ...critical, der(Tag.octetString, value));
}

/** dNSName or iPAddress (RFC 5280, section 4.2.1.6). */
function generalName(name: string): Buffer {
  if (isIP(name) === 0) return der(Tag.context(2), Buffer.from(name));
  return der(Tag.context(7), Buffer.from(parseIP(name).bytes));
}
