import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonValue } from '../../src/cni/json.ts';
import { Failure } from '../../src/playground/api/failure.ts';
import { patcherOf } from '../../src/playground/api/patch.ts';
import { networkAttachmentDefinitions, pods } from '../../src/playground/api/resources.ts';

interface Case {
  readonly what: string;
  readonly target: JsonValue;
  readonly patch: JsonValue;
  readonly result: JsonValue;
}

const apply = (type: string, target: JsonValue, patch: JsonValue): JsonValue =>
  patcherOf(pods, `application/${type}+json`)(target, patch);

const merges: readonly Case[] = [
  {
    what: 'sets, adds and removes',
    target: { a: 1, b: 2 },
    patch: { a: 3, b: null, c: { d: 4 } },
    result: { a: 3, c: { d: 4 } },
  },
  { what: 'goes into maps', target: { a: { b: 1, c: 2 } }, patch: { a: { b: null } }, result: { a: { c: 2 } } },
  { what: 'replaces lists', target: { a: [1, 2] }, patch: { a: [3] }, result: { a: [3] } },
  { what: 'replaces what is no map', target: { a: [1] }, patch: { a: { b: 1 } }, result: { a: { b: 1 } } },
  { what: 'drops nulls of what is added', target: {}, patch: { a: { b: null } }, result: { a: {} } },
  {
    what: 'has names that other languages fear',
    target: {},
    patch: JSON.parse('{"__proto__":{"a":1}}'),
    result: JSON.parse('{"__proto__":{"a":1}}'),
  },
];

for (const { what, target, patch, result } of merges) {
  test(`a merge patch ${what}`, () => {
    assert.deepEqual(apply('merge-patch', target, patch), result);
  });
}

const containers = [
  { name: 'main', image: 'a:1', command: ['run'], env: [{ name: 'X', value: '1' }] },
  { name: 'side', image: 'b:1' },
];

const strategic: readonly Case[] = [
  {
    what: 'changes the element of a list that has the same key',
    target: { containers },
    patch: { containers: [{ name: 'main', image: 'a:2', env: [{ name: 'Y', value: '2' }] }] },
    result: {
      containers: [
        {
          name: 'main',
          image: 'a:2',
          command: ['run'],
          env: [
            { name: 'X', value: '1' },
            { name: 'Y', value: '2' },
          ],
        },
        { name: 'side', image: 'b:1' },
      ],
    },
  },
  {
    what: 'adds and deletes elements, and leaves their order out',
    target: { containers },
    patch: {
      '$setElementOrder/containers': [{ name: 'new' }, { name: 'main' }],
      containers: [
        { name: 'new', image: 'c:1' },
        { $patch: 'delete', name: 'side' },
      ],
    },
    result: { containers: [containers[0] ?? null, { name: 'new', image: 'c:1' }] },
  },
  {
    what: 'replaces a list where it says so',
    target: { containers },
    patch: { containers: [{ $patch: 'replace' }, { name: 'only' }] },
    result: { containers: [{ name: 'only' }] },
  },
  {
    what: 'replaces lists without a key',
    target: { tolerations: [{ key: 'a' }], args: ['1', '2'] },
    patch: { tolerations: [{ key: 'b' }], args: ['3'] },
    result: { tolerations: [{ key: 'b' }], args: ['3'] },
  },
  {
    what: 'joins lists of plain values, and takes values out of them',
    target: { finalizers: ['a', 'b'] },
    patch: { finalizers: ['b', 'c'], '$deleteFromPrimitiveList/finalizers': ['a'] },
    result: { finalizers: ['b', 'c'] },
  },
  {
    what: 'replaces a map where it says so',
    target: { securityContext: { a: 1, b: 2 } },
    patch: { securityContext: { $patch: 'replace', c: 3 } },
    result: { securityContext: { c: 3 } },
  },
  {
    what: 'keeps only the keys that it names',
    target: { volumes: [{ name: 'v', emptyDir: {} }] },
    patch: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/x' } }] },
    result: { volumes: [{ name: 'v', hostPath: { path: '/x' } }] },
  },
];

for (const { what, target, patch, result } of strategic) {
  test(`a strategic merge patch ${what}`, () => {
    assert.deepEqual(apply('strategic-merge-patch', target, patch), result);
  });
}

const json: readonly Case[] = [
  { what: 'adds to a map', target: {}, patch: [{ op: 'add', path: '/a', value: 1 }], result: { a: 1 } },
  {
    what: 'adds into a list',
    target: { a: [1, 3] },
    patch: [{ op: 'add', path: '/a/1', value: 2 }],
    result: { a: [1, 2, 3] },
  },
  { what: 'adds to the end of a list', target: [1], patch: [{ op: 'add', path: '/-', value: 2 }], result: [1, 2] },
  {
    what: 'replaces within lists',
    target: { a: [{ b: 1 }] },
    patch: [{ op: 'replace', path: '/a/0/b', value: 2 }],
    result: { a: [{ b: 2 }] },
  },
  {
    what: 'removes',
    target: { a: [1, 2], b: 1 },
    patch: [
      { op: 'remove', path: '/a/0' },
      { op: 'remove', path: '/b' },
    ],
    result: { a: [2] },
  },
  {
    what: 'moves and copies',
    target: { a: 1 },
    patch: [
      { op: 'copy', from: '/a', path: '/b' },
      { op: 'move', from: '/a', path: '/c' },
    ],
    result: { b: 1, c: 1 },
  },
  {
    what: 'knows escapes',
    target: { 'a/b': { '~': 1 } },
    patch: [{ op: 'replace', path: '/a~1b/~0', value: 2 }],
    result: { 'a/b': { '~': 2 } },
  },
  {
    what: 'replaces everything',
    target: { a: 1 },
    patch: [{ op: 'replace', path: '', value: { b: 1 } }],
    result: { b: 1 },
  },
  {
    what: 'tests, without regard to the order of keys',
    target: { a: { b: 1, c: 2 } },
    patch: [{ op: 'test', path: '/a', value: { c: 2, b: 1 } }],
    result: { a: { b: 1, c: 2 } },
  },
];

for (const { what, target, patch, result } of json) {
  test(`a JSON patch ${what}`, () => {
    const before = structuredClone(target);
    assert.deepEqual(apply('json-patch', target, patch), result);
    assert.deepEqual(target, before, 'nothing is changed in place');
  });
}

const refused: ReadonlyArray<{ readonly patch: JsonValue; readonly message: RegExp }> = [
  { patch: {}, message: /^not a JSON patch: / },
  { patch: [{ op: 'grow', path: '/a' }], message: /^not a JSON patch: \[0\]\.op: / },
  { patch: [{ op: 'replace', path: '/no', value: 1 }], message: /there is nothing at "\/no"$/ },
  { patch: [{ op: 'remove', path: '/no' }], message: /there is nothing at "\/no"$/ },
  { patch: [{ op: 'add', path: '/no/b', value: 1 }], message: /there is nothing at "\/no\/b"$/ },
  { patch: [{ op: 'add', path: '/a/2', value: 1 }], message: /"\/a\/2" is outside of its list$/ },
  { patch: [{ op: 'replace', path: '/a/-', value: 1 }], message: /outside of its list$/ },
  { patch: [{ op: 'remove', path: '/a/01' }], message: /outside of its list$/ },
  { patch: [{ op: 'add', path: '/a/0/b', value: 1 }], message: /neither a map nor a list$/ },
  { patch: [{ op: 'add', path: 'a', value: 1 }], message: /"a" is not a JSON pointer$/ },
  { patch: [{ op: 'test', path: '/a/0', value: 2 }], message: /test of "\/a\/0" failed$/ },
  { patch: [{ op: 'copy', from: '/constructor', path: '/b' }], message: /there is nothing at "\/constructor"$/ },
];

for (const { patch, message } of refused) {
  test(`a JSON patch is refused: ${JSON.stringify(patch)}`, () => {
    assert.throws(
      () => apply('json-patch', { a: [1] }, patch),
      (error) => {
        assert.ok(error instanceof Failure);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test('patches of other types are refused, with those that are served for the resource', () => {
  assert.throws(() => patcherOf(pods, 'application/apply-patch+yaml'), {
    reason: 'UnsupportedMediaType',
    message:
      'a patch of type "application/apply-patch+yaml" is not served for pods; expected application/merge-patch+json, application/json-patch+json, application/strategic-merge-patch+json',
  });
  assert.throws(() => patcherOf(networkAttachmentDefinitions, 'application/strategic-merge-patch+json'), {
    message:
      'a patch of type "application/strategic-merge-patch+json" is not served for network-attachment-definitions; expected application/merge-patch+json, application/json-patch+json',
  });
});
