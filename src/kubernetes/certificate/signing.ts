import { z } from 'zod';
import { Backoff } from '../backoff.ts';
import { type Client, segment } from '../client.ts';
import { isTransient } from '../error.ts';

const path = '/apis/certificates.k8s.io/v1/certificatesigningrequests';

/** certificates.k8s.io/v1 CertificateSigningRequest, as much of it as tells what has become of one. */
const requestSchema = z.object({
  metadata: z.object({ name: z.string().min(1) }),
  status: z
    .object({
      certificate: z.string().optional(),
      conditions: z
        .array(z.object({ type: z.string(), reason: z.string().optional(), message: z.string().optional() }))
        .nullish(),
    })
    .nullish(),
});

export interface SigningOptions {
  /** A PKCS #10 request as PEM. */
  readonly request: string;
  /** How long the certificate is wanted for; the signer may give less. Kubernetes takes 600 and more. */
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** Told the name of the request once it is there: somebody has to approve it. */
  readonly submitted: (name: string) => void;
  /** Milliseconds between looks at it, the first and the longest; half a second and ten unless told. */
  readonly waits?: readonly [number, number];
  /** Milliseconds after which it is given up, a quarter of an hour unless told. */
  readonly limit?: number;
}

/**
 * Has the cluster sign a client certificate, by the signer and for the usages that Multus asks for. Approval is the
 * cluster's matter, and is waited for.
 *
 * @returns The certificate, as PEM.
 * @throws {Error} when it was denied, has failed, or has not been approved in time; {ApiError} when it cannot be asked for.
 */
export async function signedCertificate(client: Client, options: SigningOptions): Promise<string> {
  const { request, seconds, signal, submitted, waits = [500, 10_000], limit = 900_000 } = options;
  const made = await client.request({
    method: 'POST',
    path,
    signal,
    body: {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { generateName: 'csr-' },
      spec: {
        request: Buffer.from(request).toString('base64'),
        signerName: 'kubernetes.io/kube-apiserver-client',
        usages: ['digital signature', 'client auth'],
        expirationSeconds: seconds,
      },
    },
  });
  const { name } = requestSchema.parse(made).metadata;
  submitted(name);
  const backoff = new Backoff(...waits);
  const giveUp = performance.now() + limit;
  while (performance.now() < giveUp) {
    await backoff.wait(signal);
    const found = await lookAt(client, name, signal);
    if (found !== undefined) return found;
  }
  throw new Error(
    `certificate signing request ${name} was neither approved nor denied within ${limit / 60_000} minutes`,
  );
}

/** @returns undefined while it is not signed. */
async function lookAt(client: Client, name: string, signal: AbortSignal): Promise<string | undefined> {
  let answer: unknown;
  try {
    answer = await client.request({ path: `${path}/${segment('certificate signing request', name)}`, signal });
  } catch (error) {
    // It is still there once the server is back.
    if (isTransient(error)) return undefined;
    throw error;
  }
  const { status } = requestSchema.parse(answer);
  const refusal = status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed');
  if (refusal !== undefined) {
    const why = [refusal.reason, refusal.message].filter(Boolean).join(': ');
    throw new Error(`certificate signing request ${name}: ${refusal.type}${why === '' ? '' : `: ${why}`}`);
  }
  return status?.certificate ? Buffer.from(status.certificate, 'base64').toString() : undefined;
}
