import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatArgs, parseArgs, requireKnownArgs } from '../../src/cni/args.ts';
import { thrownBy } from './support.ts';

describe('CNI_ARGS', () => {
  test('are read and written', () => {
    const text = 'IgnoreUnknown=1;K8S_POD_NAME=p;IP=10.0.0.5/24;X==';
    assert.deepEqual(
      [...parseArgs(text)],
      [
        ['IgnoreUnknown', '1'],
        ['K8S_POD_NAME', 'p'],
        ['IP', '10.0.0.5/24'],
        ['X', '='],
      ],
    );
    assert.equal(formatArgs(parseArgs(text)), text);
    assert.equal(parseArgs('').size, 0);
  });

  for (const text of ['A', 'A=1;', '=1', ';']) {
    test(`"${text}" are not`, () => assert.equal(thrownBy(() => parseArgs(text))[0], 4));
  }

  test('that a plugin does not know are refused, unless it is told to ignore them', () => {
    assert.deepEqual(
      thrownBy(() => requireKnownArgs(parseArgs('MAC=x;FOO=1;mac=y'), ['MAC'])),
      [999, 'ARGS: unknown args ["FOO=1" "mac=y"]', ''],
    );
    for (const value of ['1', 'true', 'True', 't']) {
      requireKnownArgs(parseArgs(`FOO=1;IgnoreUnknown=${value}`), []);
    }
    assert.equal(thrownBy(() => requireKnownArgs(parseArgs('FOO=1;IgnoreUnknown=0'), []))[0], 999);
    requireKnownArgs(parseArgs('MAC=x'), ['MAC']);
  });
});
