import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { readPair } from '../../src/kubernetes/certificate/pair.ts';
import { certificateRequest } from '../../src/kubernetes/certificate/request.ts';
import { signedCertificate } from '../../src/kubernetes/certificate/signing.ts';
import { authority } from '../support/authority.ts';
import { testDirectory } from '../support/directory.ts';
import { Signer } from '../support/signer.ts';
import { onEachServer, type Running } from './server.ts';

const options = { timeout: 60_000 };

const subject = { commonName: 'system:multus:node-1', organization: 'system:multus' };

/** Asks for a certificate, as one who may, and tells the request's name once the server has taken it. */
async function submitted({ client }: Running) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const request = certificateRequest(subject, privateKey);
  const { promise: name, resolve } = Promise.withResolvers<string>();
  const signal = new AbortController().signal;
  const signed = signedCertificate(client, { request, seconds: 600, signal, submitted: resolve, waits: [20, 200] });
  // What is wrong with it is told instead of waited for.
  await Promise.race([name, signed]);
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { request, key, signed, name: await name };
}

/** As `kubectl certificate approve` and `deny`, and as a signer. */
const change = ({ admin }: Running, name: string, part: 'approval' | 'status', status: object): Promise<unknown> =>
  admin.ask(
    'PATCH',
    `/apis/certificates.k8s.io/v1/certificatesigningrequests/${name}/${part}`,
    { status },
    'application/merge-patch+json',
  );

onEachServer((server) => {
  test('a request is taken, and the certificate comes once it is approved and signed', options, async () => {
    await using running = await server.start([], 'administrator');
    await using directory = await testDirectory();
    await authority(directory.path);
    const signer = await Signer.in({ directory: directory.path, life: 600_000 });
    const { request, key, name, signed } = await submitted(running);
    const approved = { type: 'Approved', status: 'True', reason: 'Test', message: 'by the test' };
    await change(running, name, 'approval', { conditions: [approved] });
    const certificate = Buffer.from(await signer.issue(name, request)).toString('base64');
    await change(running, name, 'status', { certificate });
    const { notBefore, notAfter } = readPair((await signed) + key, subject);
    assert.ok(notBefore < Date.now() && Date.now() < notAfter);
  });

  test('a request that is denied is an error with the reason', options, async () => {
    await using running = await server.start([], 'administrator');
    const { name, signed } = await submitted(running);
    const denied = { type: 'Denied', status: 'True', reason: 'CSRDenied', message: 'not this node' };
    const refused = assert.rejects(signed, {
      message: `certificate signing request ${name}: Denied: CSRDenied: not this node`,
    });
    await change(running, name, 'approval', { conditions: [denied] });
    await refused;
  });
});
