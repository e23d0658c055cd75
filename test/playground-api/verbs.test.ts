import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonValue } from '../../src/cni/json.ts';
import { at, listAt, textAt } from '../../src/playground/api/object.ts';
import { pods } from '../../src/playground/api/resources.ts';
import { network, pod } from './manifests.ts';
import { type Asked, servedApi } from './support.ts';

const options = { timeout: 20_000 };
const inDefault = '/api/v1/namespaces/default/pods';
const nads = '/apis/k8s.cni.cncf.io/v1/network-attachment-definitions';

const namesIn = (list: JsonValue): string[] => listAt(list, 'items').map((item) => textAt(item, 'metadata.name'));

test('get', options, async () => {
  await using running = await servedApi({ objects: [pod('a'), network('n')] });
  const { status, body } = await running.ask('GET', `${inDefault}/a`);
  assert.deepEqual([status, body['kind'], body['apiVersion']], [200, 'Pod', 'v1']);
  const other = await running.ask(
    'GET',
    '/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions/n',
  );
  assert.equal(textAt(other.body, 'spec.config'), '{}');
  assert.equal((await running.ask('GET', `${inDefault}/a/status`)).status, 200);
  assert.equal((await running.ask('GET', '/api/v1/namespaces/default')).body['kind'], 'Namespace');
});

test('list: of a namespace, of all, and by selectors', options, async () => {
  const labelled = {
    ...pod('b', { namespace: 'team', node: 'node-2' }),
    metadata: { name: 'b', namespace: 'team', labels: { app: 'x' } },
  };
  await using running = await servedApi({ objects: [pod('a'), labelled] });
  const { ask, api } = running;
  const { body } = await ask('GET', '/api/v1/pods');
  assert.deepEqual([body['kind'], body['apiVersion']], ['PodList', 'v1']);
  assert.equal(textAt(body, 'metadata.resourceVersion'), String(api.store.version));
  assert.deepEqual(namesIn(body), ['a', 'b']);
  assert.deepEqual(namesIn((await ask('GET', inDefault)).body), ['a']);
  assert.deepEqual(namesIn((await ask('GET', '/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-2')).body), ['b']);
  assert.deepEqual(namesIn((await ask('GET', '/api/v1/pods?labelSelector=app%3Dx')).body), ['b']);
  assert.deepEqual(namesIn((await ask('GET', '/api/v1/namespaces')).body), [
    'default',
    'kube-node-lease',
    'kube-public',
    'kube-system',
    'team',
  ]);
});

test('list by pages: all of one version, whatever happens meanwhile', options, async () => {
  const objects = ['a', 'b', 'c', 'd', 'e'].map((name) => network(name));
  await using running = await servedApi({ objects });
  const { ask, api } = running;
  const first = await ask('GET', `${nads}?limit=2`);
  assert.deepEqual(namesIn(first.body), ['a', 'b']);
  assert.equal(at(first.body, 'metadata.remainingItemCount'), 3);
  api.store.create(network('bb'));
  const next = encodeURIComponent(textAt(first.body, 'metadata.continue'));
  const second = await ask('GET', `${nads}?limit=2&continue=${next}`);
  assert.deepEqual(namesIn(second.body), ['c', 'd']);
  assert.equal(textAt(second.body, 'metadata.resourceVersion'), textAt(first.body, 'metadata.resourceVersion'));
  const last = await ask(
    'GET',
    `${nads}?limit=2&continue=${encodeURIComponent(textAt(second.body, 'metadata.continue'))}`,
  );
  assert.deepEqual(namesIn(last.body), ['e']);
  assert.equal(at(last.body, 'metadata.continue'), undefined);

  api.forgetHistory();
  const gone = await ask('GET', `${nads}?limit=2&continue=${next}`);
  assert.deepEqual([gone.status, gone.body['reason']], [410, 'Expired']);
});

test('list at a version', options, async () => {
  await using running = await servedApi({ objects: [network('a')] });
  const { ask, api } = running;
  const { version } = api.store;
  api.store.create(network('b'));
  assert.deepEqual(namesIn((await ask('GET', `${nads}?resourceVersion=${version}`)).body), ['a', 'b']);
  assert.deepEqual(namesIn((await ask('GET', `${nads}?resourceVersion=${version}&resourceVersionMatch=Exact`)).body), [
    'a',
  ]);
  const tooLarge = await ask('GET', `${nads}?resourceVersion=${version + 100}`);
  assert.deepEqual([tooLarge.status, tooLarge.body['reason']], [504, 'Timeout']);
  assert.equal(textAt(listAt(tooLarge.body, 'details.causes')[0], 'reason'), 'ResourceVersionTooLarge');
});

test('metadata alone, of an object and of a list', options, async () => {
  await using running = await servedApi({ objects: [pod('a')] });
  const { ask, api } = running;
  const form = (kind: string): Asked => ({ accept: `application/json;as=${kind};g=meta.k8s.io;v=v1,application/json` });
  const { metadata } = api.store.get(pods, 'default', 'a');
  const expected = { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
  assert.deepEqual((await ask('GET', `${inDefault}/a`, form('PartialObjectMetadata'))).body, expected);
  assert.deepEqual((await ask('GET', inDefault, form('PartialObjectMetadataList'))).body, {
    kind: 'PartialObjectMetadataList',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion: String(api.store.version) },
    items: [expected],
  });
});

test('create, replace and delete', options, async () => {
  await using running = await servedApi();
  const { ask } = running;
  const made = await ask('POST', inDefault, { body: { ...pod('a'), metadata: { name: 'a' } } });
  assert.deepEqual([made.status, textAt(made.body, 'metadata.namespace')], [201, 'default']);
  const replaced = await ask('PUT', `${inDefault}/a`, {
    body: { ...made.body, spec: { nodeName: 'x', containers: [] } },
  });
  assert.deepEqual([replaced.status, textAt(replaced.body, 'spec.nodeName')], [200, 'x']);
  const stale = await ask('PUT', `${inDefault}/a`, { body: made.body });
  assert.deepEqual([stale.status, stale.body['reason']], [409, 'Conflict']);
  const other = { preconditions: { uid: 'other' } };
  assert.equal((await ask('DELETE', `${inDefault}/a`, { body: other })).status, 409);
  assert.equal((await ask('DELETE', `${inDefault}/a`)).status, 200);
  assert.equal((await ask('GET', `${inDefault}/a`)).status, 404);
});

test('patch: of the object and of its status', options, async () => {
  await using running = await servedApi({ objects: [pod('a')] });
  const { ask, api } = running;
  const type = 'application/merge-patch+json';
  const body = { metadata: { annotations: { x: '1' } }, spec: { nodeName: 'x' }, status: { phase: 'Running' } };
  await ask('PATCH', `${inDefault}/a/status`, { type, body });
  let now = api.store.get(pods, 'default', 'a');
  assert.deepEqual(
    [now.metadata.annotations?.['x'], textAt(now, 'spec.nodeName'), textAt(now, 'status.phase')],
    ['1', 'node-1', 'Running'],
  );
  await ask('PATCH', `${inDefault}/a`, { type, body: { ...body, status: { phase: 'Failed' } } });
  now = api.store.get(pods, 'default', 'a');
  assert.deepEqual([textAt(now, 'spec.nodeName'), textAt(now, 'status.phase')], ['x', 'Running']);

  const stale = await ask('PATCH', `${inDefault}/a`, { type, body: { metadata: { resourceVersion: '1' } } });
  assert.deepEqual([stale.status, stale.body['reason']], [409, 'Conflict']);
  const another = await ask('PATCH', `${inDefault}/a`, { type, body: { metadata: { uid: 'other' } } });
  assert.deepEqual([another.status, another.body['reason']], [422, 'Invalid']);
  assert.equal(another.body['message'], 'Pod "a" is invalid: metadata.uid: Invalid value: "other": field is immutable');
});

const refused: ReadonlyArray<{
  readonly what: string;
  readonly request: readonly [method: string, path: string, asked?: Asked];
  readonly status: number;
  readonly message: RegExp;
}> = [
  {
    what: 'a path that leads nowhere',
    request: ['GET', '/api/v1/configmaps'],
    status: 404,
    message: /^the server could not find the requested resource$/,
  },
  {
    what: 'a subresource that is not served',
    request: ['GET', `${inDefault}/a/log`],
    status: 404,
    message: /could not find/,
  },
  {
    what: 'a name that climbs',
    request: ['GET', `${inDefault}/%2e%2e`],
    status: 404,
    message: /could not find|not found/,
  },
  { what: 'an escape that is none', request: ['GET', `${inDefault}/%zz`], status: 404, message: /not found$/ },
  { what: 'two slashes', request: ['GET', '//example.org/api'], status: 404, message: /could not find/ },
  {
    what: 'a method that is not served',
    request: ['DELETE', inDefault],
    status: 405,
    message: /^the server does not allow DELETE/,
  },
  {
    what: 'a body that is not JSON',
    request: ['POST', inDefault, { body: 'kind: Pod' }],
    status: 400,
    message: /^the body is not JSON: /,
  },
  {
    what: 'a body of another type',
    request: ['POST', inDefault, { body: 'kind: Pod', type: 'application/yaml' }],
    status: 415,
    message: /^a body of type application\/yaml is not served; expected application\/json, as kubectl sends with -f$/,
  },
  {
    what: 'a body that is no object',
    request: ['POST', inDefault, { body: [] }],
    status: 400,
    message: /^not an object of Kubernetes: /,
  },
  {
    what: 'an object of another kind',
    request: ['POST', inDefault, { body: network('n') }],
    status: 400,
    message: /^expected v1 Pod, got k8s\.cni\.cncf\.io\/v1 NetworkAttachmentDefinition$/,
  },
  {
    what: 'an object of another namespace',
    request: ['POST', '/api/v1/namespaces/kube-system/pods', { body: pod('b') }],
    status: 400,
    message: /namespace of the object \(default\) is not the namespace in the URL \(kube-system\)$/,
  },
  {
    what: 'an object of another name',
    request: ['PUT', `${inDefault}/b`, { body: pod('a') }],
    status: 400,
    message: /name of the object \(a\) is not the name in the URL \(b\)$/,
  },
  {
    what: 'a patch of an unknown type',
    request: ['PATCH', `${inDefault}/a`, { body: {}, type: 'application/apply-patch+yaml' }],
    status: 415,
    message: /is not served for pods; expected/,
  },
  {
    what: 'a dry run',
    request: ['POST', `${inDefault}?dryRun=All`, { body: pod('b') }],
    status: 400,
    message: /^dryRun is not served here$/,
  },
  {
    what: 'a field that selects nothing',
    request: ['GET', '/api/v1/pods?fieldSelector=a%3Db'],
    status: 400,
    message: /^field label not supported: a; pods have /,
  },
  {
    what: 'a limit that is none',
    request: ['GET', '/api/v1/pods?limit=-1'],
    status: 400,
    message: /^limit: expected a number, found "-1"$/,
  },
  {
    what: 'a continue token of our own making',
    request: ['GET', '/api/v1/pods?continue=abc'],
    status: 400,
    message: /^continue key is not valid$/,
  },
  {
    what: 'a version that is none',
    request: ['GET', '/api/v1/pods?resourceVersion=x'],
    status: 400,
    message: /^resourceVersion: Invalid value: "x": expected a number$/,
  },
  {
    what: 'a watch that wants its beginning as events',
    request: ['GET', '/api/v1/pods?watch=true&sendInitialEvents=true'],
    status: 422,
    message: /^sendInitialEvents is forbidden/,
  },
  {
    what: 'a watch of a wrong field',
    request: ['GET', '/api/v1/pods?watch=true&fieldSelector=a%3Db'],
    status: 400,
    message: /^field label not supported/,
  },
];

for (const { what, request, status, message } of refused) {
  test(`${what} is refused with a Status object`, options, async () => {
    await using running = await servedApi({ objects: [pod('a')] });
    const answer = await running.ask(...request);
    assert.deepEqual([answer.status, answer.body['kind'], answer.body['code']], [status, 'Status', status]);
    assert.match(textAt(answer.body, 'message'), message);
  });
}

test('a body that is too long is refused before it is read', options, async () => {
  await using running = await servedApi();
  const { status, body } = await running.ask('POST', inDefault, { body: `"${'x'.repeat(4 * 1024 * 1024)}"` });
  assert.deepEqual([status, body['reason']], [413, 'RequestEntityTooLarge']);
});

test('only who knows the secret is answered, at the URL that the kubeconfig has', options, async () => {
  await using running = await servedApi({ secret: 's3cret' });
  assert.equal((await running.ask('GET', '/api/v1/pods')).status, 401);
  assert.equal((await running.ask('GET', '/s3cretive/api/v1/pods')).status, 401);
  assert.equal((await running.ask('GET', '/s3cret/api/v1/pods')).status, 200);
  assert.match(running.api.kubeconfig(), new RegExp(`server: ${running.api.url}/s3cret\n`));
});
