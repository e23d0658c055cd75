import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { allCases } from './cases/index.ts';
import { compare, describeFound } from './compare.ts';
import { differences } from './differences.ts';
import { documentPath, renderDocument } from './document.ts';

test('every listed difference is looked for by a case', () => {
  const claimed = new Set<string>(allCases.flatMap((each) => each.differences ?? []));
  assert.deepEqual(
    Object.keys(differences).filter((id) => !claimed.has(id)),
    [],
  );
});

/** There is no such plugin among the containernetworking project's. */
const withoutOriginal: readonly string[] = ['passthru', 'sriov', 'vxlan'];

test('every built-in plugin is compared with the original', () => {
  const compared = new Set(allCases.map(({ plugin }) => plugin));
  assert.deepEqual(
    builtinPlugins.map(({ type }) => type).filter((type) => !compared.has(type) && !withoutOriginal.includes(type)),
    [],
  );
});

test('the page of differences says what the tests know', async () => {
  assert.equal(await readFile(documentPath, 'utf8'), renderDocument(), 'run node test/parity/document.ts');
});

test('a comparison tells what only one has, once, and what is not the same, where it is', () => {
  const found = compare(
    { same: [1, { a: 'x' }], only: { a: 1, b: 2 }, list: [1, 2], kind: { a: 1 }, order: { a: 1, b: 2 } },
    { same: [1, { a: 'x' }], list: [1, 3, 4], kind: 'a', order: { b: 2, a: 1 }, more: null },
  );
  assert.deepEqual(found.map(describeFound), [
    'only: {"a":1,"b":2} | nothing',
    'list/1: 2 | 3',
    'list/2: nothing | 4',
    'kind: {"a":1} | "a"',
    'more: nothing | null',
  ]);
});
