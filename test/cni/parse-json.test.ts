import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CniError } from '../../src/cni/error.ts';
import { maxTextLength, parseJson } from '../../src/cni/parse-json.ts';
import { thrownBy } from './support.ts';

describe('malformed JSON is told with its place', () => {
  const cases: readonly [string, string][] = [
    ['', 'line 1, column 1: expected a value, found the end of the text'],
    ['  \n ', 'line 2, column 2: expected a value, found the end of the text'],
    ['{"a":1', 'line 1, column 7: expected "," or "}", found the end of the text, near: {"a":1'],
    ['{\n  "a": 1,\n}', 'line 3, column 1: expected a key in double quotes, found }, near: { "a": 1, }'],
    ['{"a" 1}', 'line 1, column 6: expected ":", found 1, near: {"a" 1}'],
    ['{"a":1 "b":2}', 'line 1, column 8: expected "," or "}", found ", near: {"a":1 "b":2}'],
    ["{'a':1}", "line 1, column 2: expected a key in double quotes, found ', near: {'a':1}"],
    ['[1,2,]', 'line 1, column 6: expected a value, found ], near: [1,2,]'],
    ['{"a":tru}', 'line 1, column 6: expected a value, found t, near: {"a":tru}'],
    ['{"a":1} x', 'line 1, column 9: expected nothing after the value, found x, near: {"a":1} x'],
    [
      '{"a":"b\n"}',
      'line 1, column 8: expected the string to go on, and a closing double quote, found  , near: {"a":"b "}',
    ],
    ['"\\x"', 'line 1, column 2: expected the string to go on, and a closing double quote, found \\, near: "\\x"'],
  ];
  for (const [text, expected] of cases) {
    test(JSON.stringify(text), () => {
      assert.deepEqual(
        thrownBy(() => parseJson(text, 'net.conf')),
        [6, `net.conf: ${expected}`, ''],
      );
    });
  }

  test('control characters of the text do not reach the message', () => {
    const [, message] = thrownBy(() => parseJson('{"a":\u001b[31m}', 'net.conf'));
    assert.equal(message.includes('\u001b'), false);
  });
});

test('JSON of a hostile size or depth is refused before it is read', () => {
  const long = thrownBy(() => parseJson(`"${'x'.repeat(maxTextLength)}"`, 's'));
  assert.deepEqual(long, [6, 's: expected at most 1048576 characters of JSON, found 1048578', '']);
  const deep = thrownBy(() => parseJson('['.repeat(100_000), 's'));
  assert.deepEqual(deep, [6, 's: expected JSON nested at most 64 deep', '']);
  assert.deepEqual(
    parseJson(`${'['.repeat(64)}${']'.repeat(64)}`, 's'),
    JSON.parse(`${'['.repeat(64)}${']'.repeat(64)}`),
  );
  assert.equal(parseJson('"[[[\\"[["', 's'), '[[["[[');
});

test('a key called __proto__ stays a key', () => {
  const json = parseJson('{"__proto__":{"x":1}}', 's');
  assert.equal(JSON.stringify(json), '{"__proto__":{"x":1}}');
});

test('whatever is cut out of valid JSON, a place is found exactly when the engine refuses it', () => {
  const cut = fc.tuple(
    fc.json({ maxDepth: 5 }),
    fc.nat(),
    fc.nat({ max: 3 }),
    fc.constantFrom('', '}', '"', ',', 'x', '\\'),
  );
  fc.assert(
    fc.property(cut, ([json, position, length, inserted]) => {
      const at = position % (json.length + 1);
      const text = json.slice(0, at) + inserted + json.slice(at + length);
      const engine = outcome(() => JSON.parse(text));
      const ours = outcome(() => parseJson(text, 's'));
      if (engine.value !== undefined) assert.deepEqual(ours.value, engine.value);
      else
        assert.match(ours.error instanceof CniError ? ours.error.message : '', /^s: line \d+, column \d+: expected /);
    }),
    { numRuns: 2000 },
  );
});

function outcome(call: () => unknown): { readonly value?: unknown; readonly error?: unknown } {
  try {
    return { value: call() };
  } catch (error) {
    return { error };
  }
}
