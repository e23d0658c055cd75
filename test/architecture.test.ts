import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';

const src = resolve(import.meta.dirname, '../src');

/** Below every floor: the version and the description of it all. */
const manifest = resolve(src, '../package.json');

/** The house, from its roof to its foundations. An import goes down, never up, and never between two folders of one floor. */
const floors = [
  ['cli'],
  ['playground'],
  ['webhook'],
  ['daemon'],
  ['devices'],
  ['observe'],
  ['attach'],
  ['kubernetes', 'kubelet', 'journal'],
  ['plugins'],
  ['cni', 'linux'],
  ['net'],
];

const floorOf = (folder: string): number => floors.findIndex((floor) => floor.includes(folder));

const sources = readdirSync(src, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  .map((entry) => join(entry.parentPath, entry.name));

/** The module specifiers that a file names, in import, export and dynamic import. */
function specifiersOf(text: string): string[] {
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].flatMap(([, specifier]) => specifier ?? []);
}

test('every source file stands on a known floor', () => {
  assert.ok(sources.length > 0);
  for (const file of sources) {
    const [folder] = relative(src, file).split('/');
    assert.notEqual(floorOf(folder ?? ''), -1, `${relative(src, file)}: no floor for this folder`);
  }
});

test('imports go down the house, never up', () => {
  for (const file of sources) {
    const [from = ''] = relative(src, file).split('/');
    for (const specifier of specifiersOf(readFileSync(file, 'utf8'))) {
      if (!specifier.startsWith('.') || resolve(dirname(file), specifier) === manifest) continue;
      const [to = ''] = relative(src, resolve(dirname(file), specifier)).split('/');
      assert.ok(
        from === to || floorOf(to) > floorOf(from),
        `${relative(src, file)} imports ${specifier}: ${from} may not use ${to}`,
      );
    }
  }
});

test('only src/linux calls into the kernel', () => {
  for (const file of sources) {
    if (relative(src, file).startsWith('linux/')) continue;
    assert.ok(!specifiersOf(readFileSync(file, 'utf8')).includes('koffi'), `${relative(src, file)} imports koffi`);
  }
});
