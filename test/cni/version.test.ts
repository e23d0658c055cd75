import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  cniVersions,
  compareVersions,
  hasCommand,
  negotiateVersion,
  requireCommand,
  requireSupported,
} from '../../src/cni/version.ts';
import { thrownBy } from './support.ts';

describe('versions of the specification', () => {
  test('are in order', () => {
    assert.deepEqual([...cniVersions].reverse().sort(compareVersions), cniVersions);
    assert.equal(compareVersions('0.1', '0.1.0'), 0);
    assert.ok(compareVersions('0.10.0', '0.9.0') > 0);
  });

  for (const text of ['', 'v1.0.0', '1.0.0.0', '1..0', '1.0.0-rc1', ' 1.0.0', '123456.0.0']) {
    test(`"${text}" is none`, () => {
      assert.deepEqual(thrownBy(() => compareVersions(text, '1.0.0')).slice(0, 2), [
        6,
        `expected a CNI version such as 1.1.0, found "${text}"`,
      ]);
    });
  }

  test('have their commands', () => {
    const have = (command: 'ADD' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'): string | undefined =>
      cniVersions.find((version) => hasCommand(version, command));
    assert.equal(have('ADD'), '0.1.0');
    assert.equal(have('VERSION'), '0.2.0');
    assert.equal(have('CHECK'), '0.4.0');
    assert.equal(have('GC'), '1.1.0');
    assert.equal(have('STATUS'), '1.1.0');
    assert.deepEqual(
      thrownBy(() => requireCommand('0.3.1', 'CHECK')),
      [1, 'config version does not allow CHECK', 'config is "0.3.1", CHECK exists from 0.4.0'],
    );
    assert.deepEqual(thrownBy(() => requireCommand('1.0.0', 'GC')).slice(0, 2), [
      1,
      'config version does not allow GC',
    ]);
  });

  test('are refused by plugins that do not speak them', () => {
    requireSupported('1.0.0', ['0.4.0', '1.0.0']);
    assert.deepEqual(
      thrownBy(() => requireSupported('0.3.0', ['0.4.0', '1.0.0'])),
      [1, 'incompatible CNI versions', 'config is "0.3.0", plugin supports ["0.4.0" "1.0.0"]'],
    );
  });
});

describe('the version to call plugins in', () => {
  const cases: readonly [string, string | undefined, readonly string[], string][] = [
    ['absent: the oldest', undefined, [], '0.1.0'],
    ['empty: the oldest', '', [], '0.1.0'],
    ['one', '0.3.1', [], '0.3.1'],
    ['the newest of both keys', '0.4.0', ['0.3.1', '1.1.0', '1.0.0'], '1.1.0'],
    ['the newest that is known', '1.0.0', ['7.0.0', '0.4.0'], '1.0.0'],
    ['cniVersions alone', undefined, ['1.0.0', '0.4.0'], '1.0.0'],
  ];
  for (const [name, cniVersion, others, expected] of cases) {
    test(name, () => assert.equal(negotiateVersion(cniVersion, others), expected));
  }

  test('none that is known', () => {
    assert.deepEqual(thrownBy(() => negotiateVersion('2.0.0', ['3.0.0'])).slice(0, 2), [
      1,
      'expected a cniVersion of 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, found 2.0.0, 3.0.0',
    ]);
  });
});
