import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CommandError, runCommand } from '../../src/linux/command.ts';
import { lacksIptables } from '../../src/linux/iptables.ts';
import { lacksNftables, quoted } from '../../src/linux/nftables.ts';

describe('a program that configures the kernel', () => {
  test('reads what it is given and prints what it says', async () => {
    assert.equal(await runCommand('cat', [], 'a\nb'), 'a\nb');
    assert.equal(await runCommand('true', [], 'x'.repeat(1_000_000)), '');
  });

  test('has its arguments as they are: there is no shell', async () => {
    assert.equal(await runCommand('printf', ['%s', '$HOME; `id`']), '$HOME; `id`');
  });

  test('is told what failed, in its own words', async () => {
    await assert.rejects(runCommand('sh', ['-c', 'echo one >&2; echo two >&2; exit 4']), {
      name: 'CommandError',
      message: 'sh: one',
      status: 4,
      isMissing: false,
      stderr: 'one\ntwo',
    });
  });

  test('may be missing', async () => {
    await assert.rejects(runCommand('plx-no-such-program', []), {
      message: 'plx-no-such-program: not found in PATH',
      isMissing: true,
      status: undefined,
    });
  });
});

test('what a node lacks is told from what went wrong', () => {
  const error = (status: number | undefined, stderr: string, isMissing = false) =>
    new CommandError('x', { status, stderr, isMissing });
  const missing = error(undefined, '', true);
  const table: readonly (readonly [unknown, boolean, boolean])[] = [
    [missing, true, true],
    [error(3, "iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist"), true, false],
    [error(1, 'iptables/1.8.9 Failed to initialize nft: Protocol not supported'), true, true],
    [error(1, 'Unable to initialize Netlink socket: Protocol not supported'), false, true],
    [error(4, 'Another app is currently holding the xtables lock'), false, false],
    [error(1, 'Error: Could not process rule: Operation not permitted'), false, false],
    [error(undefined, ''), false, false],
    [new Error('Protocol not supported'), false, false],
  ];
  for (const [thrown, iptables, nftables] of table) {
    assert.deepEqual([lacksIptables(thrown), lacksNftables(thrown)], [iptables, nftables], String(thrown));
  }
});

test('a text that would end its quotes in a script of nft is refused', () => {
  assert.equal(quoted('net: a;}'), '"net: a;}"');
  for (const text of ['a"', 'a\nb', 'a\\']) assert.throws(() => quoted(text), /cannot be written in a script of nft/);
});
