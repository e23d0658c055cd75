import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { z } from 'zod';
import { issueServing, type Serving } from '../kubernetes/certificate/issue.ts';
import { type Client, segment } from '../kubernetes/client.ts';
import { ApiError, isNotFound, messageOf } from '../kubernetes/error.ts';
import type { Log } from '../kubernetes/log.ts';

/** A certificate as all replicas serve it. */
export interface Kept extends Serving {
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface KeptCertificateOptions {
  readonly client: Client;
  readonly namespace: string;
  /** The Secret's name. */
  readonly secret: string;
  /** What the API server calls the webhook. */
  readonly names: readonly [string, ...string[]];
  /** Milliseconds that a certificate is good for. */
  readonly life: number;
  readonly log: Log;
  readonly now: () => number;
}

/** Clocks of nodes differ: a certificate is good this many milliseconds before it was made. */
const backdated = 3_600_000;

/** A Secret with a certificate, as `kubernetes.io/tls` has it and cert-manager writes it. */
const secretSchema = z.object({
  metadata: z.object({ resourceVersion: z.string().min(1) }),
  data: z.record(z.string(), z.string()).nullish(),
});

type Secret = z.infer<typeof secretSchema>;

/** How often it is begun anew where another replica was faster. */
const attempts = 5;

/**
 * The certificate that is kept in a Secret, made where there is none of use, and made anew after two thirds of its life. Any number
 * of replicas may call this at once: one of them writes, and the others take what it wrote.
 *
 * With each certificate goes an authority of its own. The one before is kept beside it as long as it is good, for replicas serve its
 * certificate until they have looked.
 *
 * @throws {ApiError} when the Secret cannot be read or written.
 */
export async function keptCertificate(options: KeptCertificateOptions): Promise<Kept> {
  const { client, namespace, secret, now, log } = options;
  const collection = `/api/v1/namespaces/${segment('namespace', namespace)}/secrets`;
  const path = `${collection}/${segment('secret', secret)}`;
  for (let left = attempts; ; left--) {
    const found = await client.request({ path }).then(
      (answer) => secretSchema.parse(answer),
      (error: unknown) => {
        if (isNotFound(error)) return undefined;
        throw error;
      },
    );
    const kept = found && readKept(found, options);
    if (kept !== undefined && now() < kept.notBefore + ((kept.notAfter - kept.notBefore) * 2) / 3) return kept;
    const made = await make(options, kept);
    const data = dataOf(made);
    try {
      if (found === undefined) {
        const metadata = { name: secret, namespace };
        const body = { apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata, data };
        await client.request({ method: 'POST', path: collection, body });
      } else {
        const { resourceVersion } = found.metadata;
        const body = { metadata: { resourceVersion }, data };
        await client.request({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' });
      }
      const until = new Date(made.notAfter).toISOString();
      log.info({ secret: `${namespace}/${secret}`, until }, 'made a certificate');
      return made;
    } catch (error) {
      // Another replica was faster, or the Secret was deleted meanwhile.
      const isRace = error instanceof ApiError && (error.status === 409 || error.status === 404);
      if (!isRace || left <= 1 || (error.status === 404 && found === undefined)) throw error;
    }
  }
}

async function make({ names, life, now }: KeptCertificateOptions, before: Kept | undefined): Promise<Kept> {
  const notBefore = Math.floor((now() - backdated) / 1000) * 1000;
  const notAfter = notBefore + backdated + life;
  const serving = await issueServing({ names, organization: 'plexus webhook', notBefore, notAfter });
  const previous = before !== undefined && now() < before.notAfter ? (certificatesIn(before.authority)[0] ?? '') : '';
  return { ...serving, authority: serving.authority + previous, notBefore, notAfter };
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

const dataOf = ({ authority, certificate, key }: Serving) => ({
  'ca.crt': base64(authority),
  'tls.crt': base64(certificate),
  'tls.key': base64(key),
});

const certificatesIn = (pem: string): string[] =>
  pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];

/** @returns undefined where the Secret holds nothing that can be served. */
function readKept({ data }: Secret, { names, now, log, namespace, secret }: KeptCertificateOptions): Kept | undefined {
  const textOf = (key: string): string => Buffer.from(data?.[key] ?? '', 'base64').toString();
  const serving = { authority: textOf('ca.crt'), certificate: textOf('tls.crt'), key: textOf('tls.key') };
  try {
    const parsed = new X509Certificate(serving.certificate);
    const missing = names.filter((name) => !isFor(parsed, name));
    if (missing.length > 0) throw new Error(`it is not for ${missing.join(', ')}`);
    if (!parsed.checkPrivateKey(createPrivateKey(serving.key))) throw new Error('tls.key is not its key');
    const [newest = ''] = certificatesIn(serving.authority);
    if (!parsed.verify(new X509Certificate(newest).publicKey)) throw new Error('ca.crt has not signed it');
    const [notBefore, notAfter] = [parsed.validFromDate.getTime(), parsed.validToDate.getTime()];
    if (notAfter <= now()) throw new Error(`it expired at ${parsed.validToDate.toISOString()}`);
    return { ...serving, notBefore, notAfter };
  } catch (error) {
    log.warn(
      { secret: `${namespace}/${secret}`, error: messageOf(error) },
      'the certificate that was kept is of no use: another is made',
    );
    return undefined;
  }
}

const isFor = (certificate: X509Certificate, name: string): boolean =>
  (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined;
