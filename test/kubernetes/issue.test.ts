import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { issueServing, type ServingRequest } from '../../src/kubernetes/certificate/issue.ts';
import { testDirectory } from '../support/directory.ts';

const openssl = (...args: string[]) => promisify(execFile)('openssl', args);

const day = 86_400_000;

const request = {
  names: ['plexus-webhook.plexus.svc', '127.0.0.1', 'fd00::1'],
  organization: 'plexus webhook',
  notBefore: Date.UTC(2026, 10, 1),
  notAfter: Date.UTC(2027, 1, 1),
} as const;

/** An issued certificate in files, and openssl's word on it. */
async function issued(own: Partial<ServingRequest> = {}) {
  const directory = await testDirectory();
  const serving = await issueServing({ ...request, ...own });
  const file = (name: string): string => join(directory.path, name);
  await writeFile(file('ca.pem'), serving.authority);
  await writeFile(file('tls.pem'), serving.certificate);
  await writeFile(file('key.pem'), serving.key);
  return {
    ...serving,
    file,
    text: async (name: string) => (await openssl('x509', '-in', file(name), '-noout', '-text')).stdout,
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

test('openssl finds the certificate good for a server of each of its names, and for no other', async () => {
  await using it = await issued();
  const verify = (...args: string[]) =>
    openssl(
      'verify',
      '-x509_strict',
      '-purpose',
      'sslserver',
      '-attime',
      String((request.notBefore + day) / 1000),
      '-CAfile',
      it.file('ca.pem'),
      ...args,
      it.file('tls.pem'),
    );
  await verify('-verify_hostname', 'plexus-webhook.plexus.svc');
  await verify('-verify_ip', '127.0.0.1');
  await verify('-verify_ip', 'fd00::1');
  await assert.rejects(verify('-verify_hostname', 'plexus-webhook.other.svc'), /hostname mismatch/i);
  await assert.rejects(verify('-verify_ip', '127.0.0.2'), /IP address mismatch/);
});

test('an authority that was made at the same time is another, whose certificates are not taken for its own', async () => {
  await using one = await issued();
  await using other = await issued();
  const at = String((request.notBefore + day) / 1000);
  const verify = openssl('verify', '-attime', at, '-CAfile', other.file('ca.pem'), one.file('tls.pem'));
  await assert.rejects(verify, /unable to get local issuer certificate/);
});

test('the certificate is for a server alone, and the authority for nothing but signing it', async () => {
  await using it = await issued();
  const authority = await it.text('ca.pem');
  assert.match(authority, /X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
  assert.match(authority, /X509v3 Key Usage: critical\s+Certificate Sign\n/);
  const serving = await it.text('tls.pem');
  assert.match(serving, /X509v3 Basic Constraints: critical\s+CA:FALSE\n/);
  assert.match(serving, /X509v3 Key Usage: critical\s+Digital Signature\n/);
  assert.match(serving, /X509v3 Extended Key Usage:\s+TLS Web Server Authentication\n/);
  assert.match(serving, /DNS:plexus-webhook\.plexus\.svc, IP Address:127\.0\.0\.1, IP Address:FD00:0:0:0:0:0:0:1\n/);
  const identifier = (text: string, kind: string) =>
    new RegExp(`${kind} Key Identifier:\\s+(?:keyid:)?([0-9A-F:]{59})`).exec(text)?.[1];
  assert.ok(identifier(authority, 'Subject'));
  assert.equal(identifier(serving, 'Authority'), identifier(authority, 'Subject'));
});

test('node reads names, times and the key as they were meant', async () => {
  await using it = await issued();
  const parsed = new X509Certificate(it.certificate);
  assert.equal(parsed.validFromDate.getTime(), request.notBefore);
  assert.equal(parsed.validToDate.getTime(), request.notAfter);
  assert.ok(parsed.checkPrivateKey(createPrivateKey(it.key)));
  assert.ok(parsed.verify(new X509Certificate(it.authority).publicKey));
  assert.match(parsed.serialNumber, /^[4-7][0-9A-F]{31}$/);
});

test('times from 2050 on have four digits of their year', async () => {
  const notAfter = Date.UTC(2050, 0, 1);
  await using it = await issued({ notAfter: Date.UTC(2049, 11, 31, 23, 59, 59) });
  await using later = await issued({ notAfter });
  assert.equal(new X509Certificate(it.certificate).validTo, 'Dec 31 23:59:59 2049 GMT');
  assert.equal(new X509Certificate(later.certificate).validTo, 'Jan  1 00:00:00 2050 GMT');
  const { stdout } = await openssl('asn1parse', '-in', later.file('tls.pem'));
  assert.match(stdout, /GENERALIZEDTIME +:20500101000000Z/);
  assert.match(stdout, /UTCTIME +:261101000000Z/);
});

test('a name longer than a common name may be is told in full among the alternative names', async () => {
  const name = `${'a'.repeat(60)}.${'b'.repeat(60)}.svc`;
  const serving = await issueServing({ ...request, names: [name] });
  const parsed = new X509Certificate(serving.certificate);
  assert.equal(parsed.checkHost(name), name);
  assert.match(parsed.subject, new RegExp(`CN=${name.slice(0, 64)}$`));
});
