import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { pods } from '../../src/playground/api/resources.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { type Admin, AdminError } from '../support/admin.ts';
import { onEachServer } from './server.ts';

const options = { timeout: 60_000 };

const podsPath = '/api/v1/namespaces/default/pods';
const networksPath = '/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions';
const mergePatch = 'application/merge-patch+json';

/** What clients go by: all servers refuse alike. There is a pod `a` and nothing else. */
const refusals: ReadonlyArray<{
  readonly what: string;
  readonly method: string;
  readonly path: string;
  readonly body?: object | string;
  readonly type?: string;
  readonly status: number;
  readonly reason: string;
  /** Absent where the words are a server's own. */
  readonly message?: string | RegExp;
}> = [
  {
    what: 'a pod that there is already',
    method: 'POST',
    path: podsPath,
    body: pod('a'),
    status: 409,
    reason: 'AlreadyExists',
    message: 'pods "a" already exists',
  },
  {
    what: 'a pod that there is not',
    method: 'GET',
    path: `${podsPath}/nope`,
    status: 404,
    reason: 'NotFound',
    message: 'pods "nope" not found',
  },
  {
    what: 'the status of a pod that there is not',
    method: 'PATCH',
    path: `${podsPath}/nope/status`,
    type: mergePatch,
    body: { metadata: { annotations: { k: 'v' } } },
    status: 404,
    reason: 'NotFound',
    message: 'pods "nope" not found',
  },
  {
    what: 'a patch of the pod with another UID',
    method: 'PATCH',
    path: `${podsPath}/a/status`,
    type: mergePatch,
    body: { metadata: { uid: '0-0-0', annotations: { k: 'v' } } },
    status: 422,
    reason: 'Invalid',
    message: 'Pod "a" is invalid: metadata.uid: Invalid value: "0-0-0": field is immutable',
  },
  {
    what: 'the same as a strategic merge patch',
    method: 'PATCH',
    path: `${podsPath}/a/status`,
    type: 'application/strategic-merge-patch+json',
    body: { metadata: { uid: '0-0-0', annotations: { k: 'v' } } },
    status: 422,
    reason: 'Invalid',
    message: 'Pod "a" is invalid: metadata.uid: Invalid value: "0-0-0": field is immutable',
  },
  {
    what: 'a patch of the pod at an older version',
    method: 'PATCH',
    path: `${podsPath}/a/status`,
    type: mergePatch,
    body: { metadata: { resourceVersion: '1', annotations: { k: 'v' } } },
    status: 409,
    reason: 'Conflict',
    message:
      'Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the latest version and try again',
  },
  {
    what: 'a patch of the pod with another UID at an older version',
    method: 'PATCH',
    path: `${podsPath}/a`,
    type: mergePatch,
    body: { metadata: { uid: '0-0-0', resourceVersion: '1', annotations: { k: 'v' } } },
    status: 409,
    reason: 'Conflict',
    message:
      'Operation cannot be fulfilled on pods "a": the object has been modified; please apply your changes to the latest version and try again',
  },
  {
    what: 'a patch of a type that there is not',
    method: 'PATCH',
    path: `${podsPath}/a`,
    type: 'application/xml',
    body: '<a/>',
    status: 415,
    reason: 'UnsupportedMediaType',
  },
  {
    what: 'a strategic merge patch of a custom resource',
    method: 'PATCH',
    path: `${networksPath}/nope`,
    type: 'application/strategic-merge-patch+json',
    body: {},
    status: 415,
    reason: 'UnsupportedMediaType',
  },
  {
    what: 'a patch that is not JSON',
    method: 'PATCH',
    path: `${podsPath}/a`,
    type: mergePatch,
    body: '{',
    status: 400,
    reason: 'BadRequest',
  },
  {
    what: 'a list of a version that is still to come',
    method: 'GET',
    path: `${podsPath}?resourceVersion=999999999999`,
    status: 504,
    reason: 'Timeout',
    message: /^Timeout: Too large resource version: 999999999999, current: \d+$/,
  },
  {
    what: 'a list of a version that is none',
    method: 'GET',
    path: `${podsPath}?resourceVersion=abc`,
    status: 400,
    reason: 'BadRequest',
    message: /resourceVersion: Invalid value: "abc"/,
  },
  {
    what: 'a list that goes on from nowhere',
    method: 'GET',
    path: `${podsPath}?limit=1&continue=abc`,
    status: 400,
    reason: 'BadRequest',
    message: /continue key is not valid/,
  },
  {
    what: 'a selection by a field that pods are not selected by',
    method: 'GET',
    path: `${podsPath}?fieldSelector=spec.nope%3Dx`,
    status: 400,
    reason: 'BadRequest',
    message: /^field label not supported: spec\.nope/,
  },
  {
    what: 'a network in a namespace that there is not',
    method: 'POST',
    path: networksPath.replace('default', 'nowhere'),
    body: network('n', '{}', 'nowhere'),
    status: 404,
    reason: 'NotFound',
    message: 'namespaces "nowhere" not found',
  },
  {
    what: 'a network whose configuration is not text',
    method: 'POST',
    path: networksPath,
    body: { ...network('n'), spec: { config: { type: 'macvlan' } } },
    status: 422,
    reason: 'Invalid',
    message:
      'NetworkAttachmentDefinition.k8s.cni.cncf.io "n" is invalid: spec.config: Invalid value: "object": spec.config in body must be of type string: "object"',
  },
  {
    what: 'a network whose name can be none',
    method: 'POST',
    path: networksPath,
    body: network('n_'),
    status: 422,
    reason: 'Invalid',
    message: /^NetworkAttachmentDefinition\.k8s\.cni\.cncf\.io "n_" is invalid: metadata\.name: Invalid value: "n_": /,
  },
  {
    what: 'an object of another namespace than the path says',
    method: 'POST',
    path: podsPath,
    body: pod('b', { namespace: 'kube-system' }),
    status: 400,
    reason: 'BadRequest',
  },
  {
    what: "an event of another namespace than its pod's",
    method: 'POST',
    path: '/api/v1/namespaces/default/events',
    body: {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'e.1' },
      involvedObject: { kind: 'Pod', namespace: 'other', name: 'a' },
      reason: 'X',
      message: 'm',
      type: 'Normal',
    },
    status: 422,
    reason: 'Invalid',
    message: 'Event "e.1" is invalid: involvedObject.namespace: Invalid value: "other": does not match event.namespace',
  },
  {
    what: 'to delete the pod with another UID',
    method: 'DELETE',
    path: `${podsPath}/a`,
    body: { preconditions: { uid: '0-0-0' } },
    status: 409,
    reason: 'Conflict',
    message: /the UID in the precondition \(0-0-0\) does not match the UID in record \([-0-9a-f]+\)/,
  },
];

const statusSchema = z.object({
  kind: z.literal('Status'),
  apiVersion: z.literal('v1'),
  status: z.literal('Failure'),
  code: z.number(),
  reason: z.string(),
  message: z.string(),
});

const pageSchema = z.object({
  metadata: z.object({
    resourceVersion: z.string(),
    continue: z.string().optional(),
    remainingItemCount: z.number().optional(),
  }),
  items: z.array(z.object({ metadata: z.object({ name: z.string() }) })),
});

await onEachServer((server) => {
  for (const { what, method, path, body, type, status, reason, message } of refusals) {
    test(`the server refuses ${what}`, options, async () => {
      await using running = await server.start([pod('a')]);
      const failure = await refusalOf(running.admin.ask(method, path, body, type));
      assert.deepEqual([failure.code, failure.reason], [status, reason], failure.message);
      if (typeof message === 'string') assert.equal(failure.message, message);
      if (message instanceof RegExp) assert.match(failure.message, message);
    });
  }

  test('pages of a list are of one version, whatever is made and deleted meanwhile', options, async () => {
    await using running = await server.start(['a', 'b', 'c', 'd'].map((name) => pod(name)));
    const { admin } = running;
    const page = async (query: string) => pageSchema.parse(await admin.ask('GET', `${podsPath}?limit=2${query}`));
    const first = await page('');
    await admin.delete(pods, 'default', 'c');
    await admin.create(pod('e'));
    const second = await page(`&continue=${encodeURIComponent(first.metadata.continue ?? '')}`);
    const names = [first, second].map(({ items }) => items.map(({ metadata }) => metadata.name));
    assert.deepEqual(names, [
      ['a', 'b'],
      ['c', 'd'],
    ]);
    assert.equal(first.metadata.remainingItemCount, 2);
    assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
    assert.ok(!second.metadata.continue);
  });

  test('the status subresource takes metadata and status, and leaves the rest as it was', options, async () => {
    await using running = await server.start([pod('a', { annotations: { gone: 'soon', own: 'kept' } })]);
    const { admin } = running;
    const before = await admin.get(pods, 'default', 'a');
    const metadata = { annotations: { gone: null, more: '1' } };
    const patch = { metadata, spec: { nodeName: 'elsewhere' }, status: { message: 'told' } };
    await admin.ask('PATCH', `${podsPath}/a/status`, patch, mergePatch);
    const after = await admin.get(pods, 'default', 'a');
    assert.deepEqual(after.metadata.annotations, { own: 'kept', more: '1' });
    assert.deepEqual(after['spec'], before['spec']);
    assert.deepEqual(after['status'], { ...asObject(before['status']), message: 'told' });
    assert.notEqual(after.metadata.resourceVersion, before.metadata.resourceVersion);
  });

  test('a write that changes nothing makes no version', options, async () => {
    await using running = await server.start([pod('a')]);
    const { admin } = running;
    const write = () => admin.change(pods, 'default', 'a', { metadata: { annotations: { k: 'v' } } });
    assert.equal((await write()).metadata.resourceVersion, (await write()).metadata.resourceVersion);
  });

  test('versions rise with each change, whatever is changed', options, async () => {
    await using running = await server.start();
    const { admin } = running;
    const versions: number[] = [];
    for (const object of [pod('a'), network('n'), pod('b')]) {
      versions.push(Number((await admin.create(object)).metadata.resourceVersion));
    }
    versions.push(await versionAfterDelete(admin));
    assert.deepEqual(
      versions,
      versions.toSorted((a, b) => a - b),
    );
    assert.equal(new Set(versions).size, versions.length);
  });
});

async function versionAfterDelete(admin: Admin): Promise<number> {
  await admin.delete(pods, 'default', 'a');
  return Number(await admin.version());
}

async function refusalOf(request: Promise<unknown>): Promise<z.infer<typeof statusSchema>> {
  const error: unknown = await request.then(
    () => assert.fail('the request succeeded'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof AdminError, String(error));
  const status = statusSchema.parse(JSON.parse(error.body));
  assert.equal(status.code, error.status);
  return status;
}

function asObject(value: unknown): object {
  assert.ok(typeof value === 'object' && value !== null);
  return value;
}
