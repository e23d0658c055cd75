import assert from 'node:assert/strict';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { Access } from '../../src/kubernetes/access.ts';
import { Cluster } from '../../src/kubernetes/cluster.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
import { pod } from '../playground-api/manifests.ts';
import { Admin } from '../support/admin.ts';
import { testDirectory } from '../support/directory.ts';
import { type Endpoint, startControlPlane } from '../support/kube-apiserver.ts';
import { quick, silent, until } from './playground.ts';
import { prepare } from './prepare.ts';

const assets = process.env['KUBEBUILDER_ASSETS'] ?? '';
const skip = assets === '' && 'KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd';

const status = [{ name: 'aws-cni', interface: 'eth0', default: true, dns: {} }] as const;

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
  await until(() => cluster.problems().some((problem) => problem.includes('403')));
  const [first = ''] = cluster.problems();
  assert.match(
    first,
    /403 Forbidden: pods is forbidden: User "plexus-test" cannot list resource "pods" in API group "" /,
  );
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
