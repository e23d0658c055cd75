import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Access } from '../../src/kubernetes/access.ts';
import { keptCertificate } from '../../src/kubernetes/certificate/kept.ts';
import { NodeCertificate, type NodeCertificateOptions } from '../../src/kubernetes/certificate/node-certificate.ts';
import { certificateRequest } from '../../src/kubernetes/certificate/request.ts';
import { Client } from '../../src/kubernetes/client.ts';
import { Cluster } from '../../src/kubernetes/cluster.ts';
import { textAt } from '../../src/playground/api/object.ts';
import { certificateSigningRequests, pods } from '../../src/playground/api/resources.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { keptLog } from '../daemon/log.ts';
import { testDirectory } from '../support/directory.ts';
import { type SecuredApi, securedApi, signAll } from '../support/secured-api.ts';
import { until } from './playground.ts';

const timeout = 60_000;

for (const commonName of ['system:multus:n', `system:multus:${'node.'.repeat(49)}end`]) {
  test(`openssl reads the request for a name of ${commonName.length} characters, and finds its signature good`, async () => {
    await using directory = await testDirectory();
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const file = join(directory.path, 'request.pem');
    await writeFile(file, certificateRequest({ commonName, organization: 'system:multus' }, privateKey));
    const options = ['-verify', '-noout', '-subject', '-pubkey', '-nameopt', 'RFC2253'];
    const { stdout, stderr } = await promisify(execFile)('openssl', ['req', '-in', file, ...options]);
    assert.match(stderr, /verify OK/);
    assert.match(
      stdout,
      new RegExp(`subject=CN = ?${commonName},O = ?system:multus|subject=CN=${commonName},O=system:multus`),
    );
    assert.ok(stdout.includes(publicKey.export({ type: 'spki', format: 'pem' }).toString()));
  });
}

const timings = { look: [20, 100], away: [20, 100], refused: [20, 100] } as const;

function optionsOf({ kubeconfig, directory }: SecuredApi, log = keptLog().log): NodeCertificateOptions {
  return {
    bootstrap: Access.kubeconfig(kubeconfig),
    certDir: join(directory, 'certs'),
    nodeName: 'node-1',
    seconds: 600,
    log,
    timings,
  };
}

const list = { path: '/api/v1/pods' };

describe("a node's own certificate", { timeout }, () => {
  test('is asked for with the bootstrap credentials, as Multus does, and used once the cluster has approved it', async () => {
    await using server = await securedApi();
    const { api, signer, directory, clients, requests } = server;
    const { log, lines } = keptLog();
    await using certificate = await NodeCertificate.start(optionsOf(server, log));
    using client = new Client(certificate.access);
    await until(() => lines.some(({ request }) => request === requests()[0]));
    const [name = ''] = requests();
    const { spec } = api.store.get(certificateSigningRequests, undefined, name);
    assert.deepEqual(
      { ...(typeof spec === 'object' && spec), request: undefined },
      {
        request: undefined,
        signerName: 'kubernetes.io/kube-apiserver-client',
        usages: ['digital signature', 'client auth'],
        expirationSeconds: 600,
      },
    );
    await assert.rejects(client.request(list), {
      message: new RegExp(
        `there is none: certificate signing request ${name} waits for approval, as by: kubectl certificate approve ${name}`,
      ),
    });
    await signer.sign(api, name);
    await until(() => certificate.notAfter !== undefined);
    await client.request(list);
    assert.deepEqual([...clients.values()], ['kubelet', 'system:multus:node-1']);
    const file = join(directory, 'certs/multus-client-current.pem');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    const labels = [...(await readFile(file, 'utf8')).matchAll(/BEGIN ([A-Z ]+)/g)].map(([, label]) => label);
    assert.deepEqual(labels, ['CERTIFICATE', 'PRIVATE KEY']);
  });

  test('outlives a restart: nothing is asked for', async () => {
    await using server = await securedApi();
    await using _signing = signAll(server);
    const first = await NodeCertificate.start(optionsOf(server));
    await until(() => first.notAfter !== undefined);
    await first.close();
    await using second = await NodeCertificate.start(optionsOf(server));
    assert.equal(second.notAfter, first.notAfter);
    using client = new Client(second.access);
    await client.request(list);
    assert.equal(server.requests().length, 1);
  });

  test('is of use to those who only look as well, once there is one', async () => {
    await using server = await securedApi();
    const { bootstrap, certDir, nodeName } = optionsOf(server);
    using client = new Client(keptCertificate({ bootstrap, certDir, nodeName }));
    await assert.rejects(client.request(list), { message: /there is none in .*multus-client-current\.pem/ });
    assert.deepEqual(server.requests(), []);
    await using _signing = signAll(server);
    await using certificate = await NodeCertificate.start(optionsOf(server));
    await until(() => certificate.notAfter !== undefined);
    await client.request(list);
    assert.deepEqual([...server.clients.values()].at(-1), 'system:multus:node-1');
  });

  test('of another node, or half of it, is of no use: another is asked for, and why is told', async () => {
    await using server = await securedApi();
    await using _signing = signAll(server);
    const first = await NodeCertificate.start({ ...optionsOf(server), nodeName: 'node-2' });
    await until(() => first.notAfter !== undefined);
    await first.close();
    const { log, lines } = keptLog();
    await using second = await NodeCertificate.start(optionsOf(server, log));
    await until(() => second.notAfter !== undefined);
    assert.match(String(lines[0]?.['error']), /expected a certificate for CN=system:multus:node-1, found .*node-2/);
    await second.close();
    const file = join(server.directory, 'certs/multus-client-current.pem');
    await writeFile(file, (await readFile(file, 'utf8')).replace(/-----BEGIN PRIVATE.*/s, ''));
    await using third = await NodeCertificate.start(optionsOf(server, log));
    await until(() => third.notAfter !== undefined);
    assert.equal(server.requests().length, 3);
  });

  test('is renewed by itself before it expires, while watches go on and requests find the API server', async () => {
    await using server = await securedApi(6_000);
    await using _signing = signAll(server);
    const { api, clients } = server;
    await using certificate = await NodeCertificate.start(optionsOf(server));
    await until(() => certificate.notAfter !== undefined);
    const { notAfter: firstEnd = 0 } = certificate;
    const cluster = new Cluster({ access: certificate.access, nodeName: 'node-1', log: keptLog().log });
    await cluster.ready;
    await until(() => api.watches === 2);
    let cut = 0;
    const counted = setInterval(() => {
      if (api.watches !== 2) cut++;
    }, 20);
    // Until well after the first one is of no use any more.
    await until(() => Date.now() > firstEnd + 500 && (certificate.notAfter ?? 0) > firstEnd);
    using client = new Client(certificate.access);
    await client.request(list);
    const before = api.store.get(pods, 'default', 'a');
    api.store.update({ ...before, metadata: { ...before.metadata, annotations: { seen: 'yes' } } });
    await until(() => cluster.knownPod('default', 'a')?.metadata.annotations['seen'] === 'yes');
    clearInterval(counted);
    assert.equal(cut, 0);
    assert.deepEqual(cluster.problems(), []);
    const names = [...clients.values()];
    assert.equal(names.filter((name) => name === 'kubelet').length, 1);
    assert.ok(names.filter((name) => name === 'system:multus:node-1').length >= 2, names.join());
    await cluster.close();
  });

  test('that has expired is asked for anew with the bootstrap credentials', async () => {
    await using server = await securedApi(4_000);
    const { api, signer, requests } = server;
    const { log, lines } = keptLog();
    await using certificate = await NodeCertificate.start(optionsOf(server, log));
    await until(() => requests().length === 1);
    await signer.sign(api, requests()[0] ?? '');
    await until(() => certificate.notAfter !== undefined);
    const { notAfter = 0 } = certificate;
    // The renewal is never approved, and is waited for past the end.
    await until(() => Date.now() > notAfter && requests().length === 2);
    using client = new Client(certificate.access);
    await assert.rejects(client.request(list), {
      message: /expired at .*: certificate signing request .* waits for approval/,
    });
    const last = requests().at(-1) ?? '';
    api.store.delete(certificateSigningRequests, undefined, last);
    await using _signing = signAll(server);
    await until(() => (certificate.notAfter ?? 0) > notAfter);
    await client.request(list);
    assert.ok(lines.some(({ msg }) => `${msg}`.includes('the bootstrap credentials are used')));
  });

  test('that is denied is told with the reason, and asked for again', async () => {
    await using server = await securedApi();
    const { api, requests } = server;
    const { log, lines } = keptLog();
    await using certificate = await NodeCertificate.start(optionsOf(server, log));
    await until(() => requests().length === 1);
    const request = api.store.get(certificateSigningRequests, undefined, requests()[0] ?? '');
    const denied = { type: 'Denied', status: 'True', reason: 'CSRDenied', message: 'not this node' };
    api.store.update({ ...request, status: { conditions: [denied] } }, 'approval');
    await using _signing = signAll(server);
    await until(() => certificate.notAfter !== undefined);
    const { name } = request.metadata;
    assert.ok(
      lines.some(({ error }) => error === `certificate signing request ${name}: Denied: CSRDenied: not this node`),
    );
  });

  test('that the server refuses is replaced by way of the bootstrap credentials', async () => {
    await using server = await securedApi();
    await using _signing = signAll(server);
    const { api, requests } = server;
    const { log, lines } = keptLog();
    await using certificate = await NodeCertificate.start(optionsOf(server, log));
    const got = () => lines.filter(({ msg }) => msg === 'got a certificate').length;
    await until(() => got() === 1);
    using client = new Client(certificate.access);
    await client.request(list);
    api.fault({ times: 2, fail: 'Unauthorized', match: (_method, path) => path === list.path });
    await assert.rejects(client.request(list), { status: 401 });
    await until(() => got() === 2);
    assert.equal(requests().length, 2);
    await client.request(list);
  });

  test('comes although the server is away, restarts and fails meanwhile', async () => {
    await using server = await securedApi();
    const { api, requests } = server;
    api.fault({ times: 3, fail: 'ServiceUnavailable' });
    await using certificate = await NodeCertificate.start(optionsOf(server));
    await until(() => requests().length === 1);
    api.fault({ times: 3, fail: 'InternalError' });
    await server.signer.sign(api, requests()[0] ?? '');
    await until(() => certificate.notAfter !== undefined);
    assert.equal(requests().length, 1);
  });
});

test('approval writes the conditions of a request alone, and status all of its status', async () => {
  await using api = await startApi();
  const metadata = { name: 'csr-1' };
  const kind = { apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest' };
  api.store.create({ ...kind, metadata, spec: { request: 'a' } });
  const put = async (subresource: string, status: object): Promise<number> => {
    const url = `${api.url}/apis/certificates.k8s.io/v1/certificatesigningrequests/csr-1/${subresource}`;
    const body = JSON.stringify({ ...kind, metadata, spec: { request: 'b' }, status });
    return (await fetch(url, { method: 'PUT', body, headers: { 'content-type': 'application/json' } })).status;
  };
  assert.equal(await put('status', { certificate: 'c' }), 200);
  assert.equal(await put('approval', { certificate: 'd', conditions: [{ type: 'Approved' }] }), 200);
  const found = api.store.get(certificateSigningRequests, undefined, 'csr-1');
  assert.equal(textAt(found, 'spec.request'), 'a');
  assert.deepEqual(found['status'], { certificate: 'c', conditions: [{ type: 'Approved' }] });
});
