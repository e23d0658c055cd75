import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonValue } from '../../src/cni/json.ts';
import { discover } from '../../src/playground/api/discovery.ts';
import { at, listAt, textAt } from '../../src/playground/api/object.ts';
import { servedApi } from './support.ts';

const json = 'application/json';
const aggregated = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json';

function discovered(path: string, accept = json): { readonly body: JsonValue; readonly contentType: string } {
  const found = discover(path, accept);
  assert.ok(found !== undefined && !Buffer.isBuffer(found.body), path);
  return { body: found.body, contentType: found.contentType };
}

const textsAt = (value: JsonValue, list: string, path: string): string[] =>
  listAt(value, list).map((item) => textAt(item, path));

test('older clients go from groups to versions to resources', () => {
  assert.deepEqual(at(discovered('/api').body, 'versions'), ['v1']);
  assert.deepEqual(textsAt(discovered('/apis').body, 'groups', 'name'), [
    'k8s.cni.cncf.io',
    'resource.k8s.io',
    'certificates.k8s.io',
    'admissionregistration.k8s.io',
  ]);
  const group = discovered('/apis/k8s.cni.cncf.io').body;
  assert.equal(textAt(group, 'preferredVersion.groupVersion'), 'k8s.cni.cncf.io/v1');
  assert.deepEqual(textsAt(discovered('/api/v1').body, 'resources', 'name'), [
    'pods',
    'pods/status',
    'nodes',
    'nodes/status',
    'namespaces',
    'namespaces/status',
    'events',
    'secrets',
  ]);
  const [network] = listAt(discovered('/apis/k8s.cni.cncf.io/v1').body, 'resources');
  assert.deepEqual(at(network, 'shortNames'), ['net-attach-def']);
  assert.equal(at(network, 'namespaced'), true);
});

test('newer clients get all of it in one document of its own type', () => {
  const core = discovered('/api', aggregated);
  assert.match(core.contentType, /;as=APIGroupDiscoveryList$/);
  const [group] = listAt(core.body, 'items');
  const [version] = listAt(group, 'versions');
  assert.ok(version !== undefined);
  assert.deepEqual(textsAt(version, 'resources', 'resource'), ['pods', 'nodes', 'namespaces', 'events', 'secrets']);
  assert.deepEqual(textsAt(version, 'resources', 'scope'), [
    'Namespaced',
    'Cluster',
    'Cluster',
    'Namespaced',
    'Namespaced',
  ]);
  assert.deepEqual(textsAt(discovered('/apis', aggregated).body, 'items', 'metadata.name'), [
    'k8s.cni.cncf.io',
    'resource.k8s.io',
    'certificates.k8s.io',
    'admissionregistration.k8s.io',
  ]);
});

test('a schema that has just enough for kubectl to leave the checking of fields to the server', () => {
  const paths = at(discovered('/openapi/v3').body, 'paths');
  assert.ok(paths !== null && typeof paths === 'object');
  assert.deepEqual(Object.keys(paths), [
    'api/v1',
    'apis/k8s.cni.cncf.io/v1',
    'apis/resource.k8s.io/v1',
    'apis/certificates.k8s.io/v1',
    'apis/admissionregistration.k8s.io/v1',
  ]);
  const served = at(discovered('/openapi/v3/api/v1').body, 'paths');
  assert.ok(JSON.stringify(served).includes('"fieldValidation"'));
  for (const dot of ['.', '@']) {
    const found = discover('/openapi/v2', `application/com.github.proto-openapi.spec.v2${dot}v1.0+protobuf`);
    assert.ok(Buffer.isBuffer(found?.body));
    assert.equal(found.contentType, 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf');
  }
  assert.equal(textAt(discovered('/openapi/v2').body, 'swagger'), '2.0');
});

test('what is not served is not discovered', () => {
  for (const path of [
    '/',
    '/apis/apps',
    '/apis/apps/v1',
    '/api/v2',
    '/apis/k8s.cni.cncf.io/v2',
    '/openapi/v3/apis/apps/v1',
  ]) {
    assert.equal(discover(path, json), undefined, path);
  }
});

test('version and health', async () => {
  await using running = await servedApi();
  assert.match(textAt((await running.ask('GET', '/version')).body, 'gitVersion'), /^v1\.\d+\.\d+\+plexus$/);
  for (const path of ['/healthz', '/livez', '/readyz']) {
    assert.equal(await (await fetch(running.api.url + path)).text(), 'ok');
  }
});
