import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { der, distinguishedName, oid, pem, type Subject, Tag } from './der.ts';

export type { Subject } from './der.ts';

/**
 * Asks for a certificate: a PKCS #10 request (RFC 2986, section 4) without attributes, as PEM.
 *
 * @param key A private key of an elliptic curve, which the request is signed with.
 */
export function certificateRequest(subject: Subject, key: KeyObject): string {
  const name = distinguishedName(subject);
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const version = der(Tag.integer, Buffer.of(0));
  const info = der(Tag.sequence, version, name, publicKey, der(Tag.constructed(0)));
  const algorithm = der(Tag.sequence, oid.ecdsaWithSha256);
  const signature = der(Tag.bitString, Buffer.of(0), sign('sha256', info, key));
  return pem('CERTIFICATE REQUEST', der(Tag.sequence, info, algorithm, signature));
}
