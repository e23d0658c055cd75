import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { z } from 'zod';
import { Access } from '../../src/kubernetes/access.ts';
import { NodeCertificate } from '../../src/kubernetes/certificate/node-certificate.ts';
import { Client } from '../../src/kubernetes/client.ts';
import { Cluster } from '../../src/kubernetes/cluster.ts';
import { textAt } from '../../src/playground/api/object.ts';
import { certificateSigningRequests, events, pods } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import { Admin } from '../support/admin.ts';
import { testDirectory } from '../support/directory.ts';
import { type Endpoint, startControlPlane } from '../support/kube-apiserver.ts';
import { Signer } from '../support/signer.ts';
import { quick, silent, until } from './playground.ts';
import { prepare } from './prepare.ts';

const assets = process.env['KUBEBUILDER_ASSETS'] ?? '';
const skip = assets === '' && 'KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd';

const status = [{ name: 'aws-cni', interface: 'eth0', default: true, dns: {} }] as const;

/** authentication.k8s.io/v1 SelfSubjectReview: who the server takes one for. */
const reviewSchema = z.object({
  status: z.object({ userInfo: z.object({ username: z.string(), groups: z.array(z.string()) }) }),
});

/** A kubeconfig as a cluster's administrator writes it for a daemon. */
function kubeconfig({ url, ca = '', token }: Endpoint): string {
  const cluster = { server: url.href, 'certificate-authority-data': Buffer.from(ca).toString('base64') };
  return stringify({
    clusters: [{ name: 'c', cluster }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    users: [{ name: 'u', user: { token } }],
    'current-context': 'x',
  });
}

test('over TLS, with a token and the fewest rights, through a restart of kube-apiserver itself', {
  skip,
  timeout: 300_000,
}, async () => {
  await using directory = await testDirectory();
  await using plane = await startControlPlane(assets);
  using admin = new Admin(plane.administrator);
  await prepare(admin);
  const file = join(directory.path, 'kubeconfig');
  await writeFile(file, kubeconfig(plane.user));
  await using cluster = new Cluster({
    access: Access.kubeconfig(file),
    nodeName: 'node-1',
    log: silent,
    timings: quick,
  });
  await cluster.ready;
  await admin.create(pod('before'));
  await until(() => cluster.pods().length === 1);
  await plane.restart();
  await admin.create(pod('after'));
  await until(() => cluster.pods().length === 2);
  for (const name of ['before', 'after']) {
    const known = await cluster.pod('default', name);
    assert.equal(await cluster.setNetworkStatus(known, status), true);
    cluster.event(known, { type: 'Normal', reason: 'AddedInterface', message: `Add eth0 to ${name}` });
    const { annotations } = (await admin.get(pods, 'default', name)).metadata;
    assert.deepEqual(JSON.parse(annotations?.['k8s.v1.cni.cncf.io/network-status'] ?? ''), status);
  }
  await until(async () => (await admin.list(events)).length === 2);
  await until(() => cluster.problems().length === 0);
});

test('without a role a daemon says what it may not, and whom to allow it', { skip, timeout: 300_000 }, async () => {
  await using directory = await testDirectory();
  await using plane = await startControlPlane(assets);
  const file = join(directory.path, 'kubeconfig');
  await writeFile(file, kubeconfig(plane.user));
  await using cluster = new Cluster({
    access: Access.kubeconfig(file),
    nodeName: 'node-1',
    log: silent,
    timings: quick,
  });
  await until(() => cluster.problems().filter((problem) => problem.includes('403')).length === 2);
  const [first = ''] = cluster.problems();
  assert.match(
    first,
    /403 Forbidden: pods is forbidden: User "plexus-test" cannot list resource "pods" in API group "" /,
  );
});

test("a certificate of the node's own is asked for, approved, and taken for the node's name", {
  skip,
  timeout: 300_000,
}, async () => {
  await using directory = await testDirectory();
  await using plane = await startControlPlane(assets);
  using admin = new Admin(plane.administrator);
  await prepare(admin);
  const signer = await Signer.in({ directory: plane.directory, life: 600_000 });
  const file = join(directory.path, 'kubeconfig');
  await writeFile(file, kubeconfig(plane.user));
  const bootstrap = Access.kubeconfig(file);
  const timings = { look: [20, 100], away: [20, 100], refused: [20, 100] } as const;
  const own = { bootstrap, certDir: directory.path, nodeName: 'node-1', seconds: 600, log: silent, timings };
  await using certificate = await NodeCertificate.start(own);
  await until(async () => (await admin.list(certificateSigningRequests)).length === 1);
  const [request] = await admin.list(certificateSigningRequests);
  assert.ok(request);
  const { name } = request.metadata;
  const path = `/apis/certificates.k8s.io/v1/certificatesigningrequests/${name}`;
  const conditions = [{ type: 'Approved', status: 'True', reason: 'Test', message: 'by the test' }];
  await admin.ask('PUT', `${path}/approval`, { ...request, status: { conditions } });
  const signed = await signer.issue(name, Buffer.from(textAt(request, 'spec.request'), 'base64').toString());
  const status = { certificate: Buffer.from(signed).toString('base64') };
  await admin.ask('PATCH', `${path}/status`, { status }, 'application/merge-patch+json');

  await until(() => certificate.notAfter !== undefined);
  using client = new Client(certificate.access);
  await client.request({ path: '/api/v1/pods' });
  const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const body = reviewSchema.parse(
    await client.request({ method: 'POST', path: '/apis/authentication.k8s.io/v1/selfsubjectreviews', body: review }),
  );
  assert.equal(body.status.userInfo.username, 'system:multus:node-1');
  assert.ok(body.status.userInfo.groups.includes('system:multus'), body.status.userInfo.groups.join());
});

for (const { what, etcd, words } of [
  { what: 'ends', etcd: 'echo cannot bind >&2; exit 1', words: /etcd ended; its last words:\ncannot bind$/ },
  { what: 'is not there', etcd: undefined, words: /etcd/ },
]) {
  test(`a start with a program that ${what} fails with what it said`, { timeout: 60_000 }, async () => {
    await using directory = await testDirectory();
    if (etcd !== undefined) {
      const file = join(directory.path, 'etcd');
      await writeFile(file, `#!/bin/sh\n[ "$1" = --help ] && exit 0\n${etcd}\n`);
      await chmod(file, 0o755);
    }
    await assert.rejects(startControlPlane(directory.path), words);
  });
}
