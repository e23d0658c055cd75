import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { fakePlugin } from '../cni/support.ts';
import { until } from '../kubernetes/playground.ts';
import { securedApi } from '../support/secured-api.ts';
import { startNode } from './node.ts';

const timeout = 60_000;

test('a daemon with perNodeCertificate says what it waits for, answers all the same, and is ready once that is approved', {
  timeout,
}, async () => {
  await using server = await securedApi();
  const certDir = join(server.directory, 'certs');
  const perNodeCertificate = { enabled: true, bootstrapKubeconfig: server.kubeconfig, certDir, certDuration: '24h' };
  const config = { cluster: true, nodeName: 'node-1', perNodeCertificate };
  await using node = await startNode({ plugins: [fakePlugin()] }, config);
  const ready = async (): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${node.daemon.metricsPort}/readyz`);
    return `${response.status} ${await response.text()}`;
  };
  await until(async () => (await ready()).includes('kubectl certificate approve csr-'));
  assert.match(await ready(), /^503 /);
  const { stdout } = await node.call({ command: 'STATUS' });
  const { code, msg } = JSON.parse(stdout);
  assert.equal(code, 50);
  assert.match(msg, /certificate signing request csr-\w+ waits for approval/);
  assert.equal((await node.call({ command: 'DEL' })).exitStatus, 0);

  await server.signer.sign(server.api, server.requests()[0] ?? '');
  await until(async () => (await ready()) === '200 ok\n');
  assert.deepEqual([...server.clients.values()].slice(0, 2), ['kubelet', 'system:multus:node-1']);

  await node.restart();
  await until(async () => (await ready()) === '200 ok\n');
  assert.equal(server.requests().length, 1);
});
