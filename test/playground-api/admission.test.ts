import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { textAt } from '../../src/playground/api/object.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { startApi } from '../../src/playground/api/server.ts';
import { Admin, isStatus } from '../support/admin.ts';
import { freePort } from '../support/free-port.ts';
import { pod } from './manifests.ts';

/** A configuration of a webhook that nobody serves. */
const configuration = (failurePolicy: string, clientConfig: JsonObject, more: JsonObject = {}) => ({
  apiVersion: 'admissionregistration.k8s.io/v1',
  kind: 'ValidatingWebhookConfiguration',
  metadata: { name: 'nobody' },
  webhooks: [
    {
      name: 'pods.example.org',
      clientConfig,
      failurePolicy,
      rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }],
      ...more,
    },
  ],
});

async function apiWith(...given: Parameters<typeof configuration>) {
  const api = await startApi({ objects: [configuration(...given)] });
  const admin = new Admin({ url: new URL(api.url) });
  return {
    api,
    admin,
    async [Symbol.asyncDispose]() {
      admin[Symbol.dispose]();
      await api.close();
    },
  };
}

const nobody = async () => ({ url: `https://127.0.0.1:${await freePort()}/` });

test('what a webhook that cannot be asked has to admit is refused', async () => {
  await using it = await apiWith('Fail', await nobody());
  await assert.rejects(it.admin.create(pod('a')), (error: Error) => {
    assert.match(error.message, /failed calling webhook \\"pods\.example\.org\\": connect ECONNREFUSED/);
    return isStatus(error, 500);
  });
  assert.equal(it.api.store.find(pods, 'default', 'a'), undefined);
});

test('where it need not be asked, all is as without it', async () => {
  await using it = await apiWith('Ignore', await nobody());
  assert.equal(textAt(await it.admin.create(pod('a')), 'metadata.name'), 'a');
});

test('a webhook behind a Service is one that cannot be asked', async () => {
  await using it = await apiWith('Fail', { service: { namespace: 'default', name: 'a' } });
  await assert.rejects(it.admin.create(pod('a')), /it has no url, and Services are not served here/);
});

test('a webhook is asked about what its rules and its namespaces say, and nothing else', async () => {
  const notDefault = { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['default'] };
  await using it = await apiWith('Fail', await nobody(), { namespaceSelector: { matchExpressions: [notDefault] } });
  const made = await it.admin.create(pod('a'));
  await it.admin.change(pods, 'default', 'a', { metadata: { labels: { a: 'b' } } });
  assert.equal(made.metadata.name, 'a');
  await assert.rejects(it.admin.create(pod('b', { namespace: 'kube-public' })), /failed calling webhook/);
  await it.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'other' } });
});
