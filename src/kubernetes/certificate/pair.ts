import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeAtomically } from '../../linux/atomic-file.ts';
import type { Subject } from './request.ts';

/** A certificate and its key, which are of no use without each other. */
export interface Pair {
  /** With those of intermediate authorities after it, as PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
}

const blocks = /-----BEGIN ([A-Z0-9 ]+)-----[^-]+-----END \1-----\n?/g;

/**
 * Reads what a signer has given, or what was kept.
 *
 * @param pem Certificates and a private key, in any order.
 * @throws {Error} saying what it is not: PEM, for this subject, with the key of the certificate.
 */
export function readPair(pem: string, { commonName, organization }: Subject): Pair {
  const found = [...pem.matchAll(blocks)].map(([text, label = '']) => ({ text, label }));
  const certificate = found.flatMap(({ text, label }) => (label === 'CERTIFICATE' ? text : [])).join('');
  const key = found.find(({ label }) => label.endsWith('PRIVATE KEY'))?.text;
  if (certificate === '' || key === undefined) throw new Error('expected a certificate and its key as PEM');
  const parsed = new X509Certificate(certificate);
  const subject = parsed.subject.split('\n');
  for (const wanted of [`CN=${commonName}`, `O=${organization}`]) {
    if (!subject.includes(wanted)) throw new Error(`expected a certificate for ${wanted}, found ${subject.join(', ')}`);
  }
  if (!parsed.checkPrivateKey(createPrivateKey(key))) throw new Error('expected the key of the certificate');
  const { validFromDate, validToDate } = parsed;
  return { certificate, key, notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() };
}

/** @returns undefined where there is none. @throws {Error} naming a file that is no pair for this subject. */
export async function loadPair(file: string, subject: Subject): Promise<Pair | undefined> {
  try {
    return readPair(await readFile(file, 'utf8'), subject);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new Error(`${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Keeps a pair in one file, for its owner alone, so that there is never one half without the other. */
export async function savePair(file: string, { certificate, key }: Pair): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeAtomically(file, certificate + key);
}
