import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Failure, type Reason } from '../../src/playground/api/failure.ts';
import {
  namespaces,
  networkAttachmentDefinitions as networks,
  nodes,
  pods,
} from '../../src/playground/api/resources.ts';
import { type Change, Store } from '../../src/playground/api/store.ts';
import { network, pod } from './manifests.ts';

function store(history?: number): Store {
  const made = new Store(history === undefined ? {} : { history });
  for (const name of ['default', 'team']) made.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  return made;
}

function refuses(action: () => unknown, reason: Reason, message: RegExp): void {
  assert.throws(action, (error) => {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.reason, reason);
    assert.match(error.message, message);
    return true;
  });
}

const namesOf = (objects: ReturnType<Store['list']>): string[] =>
  objects.map(({ metadata }) => [metadata.namespace, metadata.name].filter(Boolean).join('/'));

test('an object gets what only the server gives, whatever it came with', () => {
  const given = store();
  const came = {
    ...pod('a'),
    metadata: { name: 'a', uid: 'mine', resourceVersion: '7', creationTimestamp: '2001-01-01T00:00:00Z' },
  };
  const { metadata, ...rest } = given.create(came);
  assert.equal(metadata.namespace, 'default');
  assert.match(metadata.uid, /^[0-9a-f-]{36}$/);
  assert.equal(metadata.resourceVersion, String(given.version));
  assert.ok(Math.abs(Date.parse(metadata.creationTimestamp) - Date.now()) < 60_000);
  assert.deepEqual(rest['status'], { phase: 'Pending' });
});

test('a name can be made up from its beginning', () => {
  const given = store();
  const metadata = { name: '', generateName: 'a-' };
  const made = [1, 2].map(() => given.create({ ...pod('x'), metadata }).metadata.name);
  assert.match(made[0] ?? '', /^a-[0-9a-f]{5}$/);
  assert.notEqual(made[0], made[1]);
});

test('what the API server refuses is refused, with its reason', () => {
  const given = store();
  const existing = given.create(pod('a'));
  const stale = given.update({ ...existing, spec: {} });
  refuses(() => given.create(pod('a')), 'AlreadyExists', /^pods "a" already exists$/);
  refuses(() => given.create(pod('A')), 'Invalid', /^Pod "A" is invalid: metadata\.name: /);
  refuses(() => given.create(pod('a..b')), 'Invalid', /metadata\.name/);
  refuses(() => given.create(pod('b', { namespace: 'nope' })), 'NotFound', /^namespaces "nope" not found$/);
  refuses(
    () => given.create({ ...pod('b'), kind: 'ConfigMap' }),
    'BadRequest',
    /^no kind "ConfigMap" of "v1" is served here$/,
  );
  refuses(() => given.get(pods, 'team', 'a'), 'NotFound', /^pods "a" not found$/);
  refuses(
    () => given.get(networks, 'team', 'a'),
    'NotFound',
    /^network-attachment-definitions\.k8s\.cni\.cncf\.io "a" not found$/,
  );
  refuses(() => given.update({ ...existing, spec: {} }), 'Conflict', /the object has been modified/);
  refuses(
    () => given.update({ ...stale, metadata: { ...stale.metadata, uid: 'other' } }),
    'Conflict',
    /UID in the precondition/,
  );
  refuses(() => given.delete(pods, 'default', 'a', { uid: 'other' }), 'Conflict', /UID in the precondition/);
  refuses(() => given.delete(pods, 'default', 'b'), 'NotFound', /^pods "b" not found$/);
});

test('objects are listed in the order of namespace and name', () => {
  const given = store();
  for (const [name, namespace] of [
    ['b', 'team'],
    ['c', 'default'],
    ['a', 'team'],
    ['a', 'default'],
  ] as const) {
    given.create(pod(name, { namespace }));
  }
  given.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', namespace: 'ignored' } });
  assert.deepEqual(namesOf(given.list(pods)), ['default/a', 'default/c', 'team/a', 'team/b']);
  assert.deepEqual(namesOf(given.list(pods, 'team')), ['team/a', 'team/b']);
  assert.deepEqual(namesOf(given.list(nodes)), ['n']);
});

test('a list can be of an earlier version', () => {
  const given = store();
  const first = given.create(network('a', '1'));
  const { version } = given;
  given.update({ ...first, spec: { config: '2' } });
  given.create(network('b'));
  given.create(pod('p'));
  given.delete(networks, 'default', 'a');
  assert.deepEqual(given.list(networks, undefined, version), [first]);
  assert.deepEqual(namesOf(given.list(networks)), ['default/b']);
  given.forgetHistory();
  refuses(() => given.list(networks, undefined, version), 'Expired', /too old resource version/);
});

test('status and all else are written apart', () => {
  const given = store();
  const made = given.create(pod('a'));
  const changed = { ...made, spec: { nodeName: 'other' }, status: { phase: 'Running' } };
  const afterStatus = given.update(changed, 'status');
  assert.deepEqual([afterStatus['spec'], afterStatus['status']], [made['spec'], { phase: 'Running' }]);
  const afterSpec = given.update({ ...afterStatus, spec: { nodeName: 'other' }, status: { phase: 'Failed' } });
  assert.deepEqual([afterSpec['spec'], afterSpec['status']], [{ nodeName: 'other' }, { phase: 'Running' }]);
});

test('a write that changes nothing makes no version and wakes nobody', () => {
  const given = store();
  const made = given.create(pod('a'));
  const { version } = given;
  const heard: Change[] = [];
  given.listen((change) => heard.push(change));
  given.update({ ...made, metadata: { ...made.metadata, labels: undefined } });
  assert.equal(given.version, version);
  assert.deepEqual(heard, []);
});

test('each change is told, with what was before, until its listener leaves', () => {
  const given = store();
  const heard: Change[] = [];
  const leave = given.listen((change) => heard.push(change));
  const made = given.create(pod('a'));
  const changed = given.update({ ...made, spec: {} });
  const deleted = given.delete(pods, 'default', 'a');
  leave();
  given.create(pod('b'));
  assert.deepEqual(
    heard.map(({ type, object, before }) => [type, object, before]),
    [
      ['ADDED', made, undefined],
      ['MODIFIED', changed, made],
      ['DELETED', deleted, changed],
    ],
  );
  const versions = heard.map(({ version }) => version);
  assert.deepEqual(
    versions,
    [...new Set(versions)].sort((a, b) => a - b),
  );
  assert.equal(deleted.metadata.resourceVersion, String(versions.at(-1)));
});

test('changes since a version are known, as far back as they are kept', () => {
  const given = store(3);
  const { version } = given;
  for (const name of ['a', 'b', 'c']) given.create(pod(name));
  assert.deepEqual(
    given.changesSince(version).map(({ object }) => object.metadata.name),
    ['a', 'b', 'c'],
  );
  given.create(pod('d'));
  refuses(() => given.changesSince(version), 'Expired', /too old resource version/);
  assert.equal(given.changesSince(version + 1).length, 3);
  refuses(() => given.changesSince(given.version + 1), 'Timeout', /Too large resource version/);
});

test('a namespace goes with all that is in it', () => {
  const given = store();
  given.create(pod('a', { namespace: 'team' }));
  given.create(network('n', '{}', 'team'));
  given.create(pod('stays'));
  given.delete(namespaces, undefined, 'team');
  assert.deepEqual(namesOf(given.list(pods)), ['default/stays']);
  assert.deepEqual(given.list(networks), []);
});
