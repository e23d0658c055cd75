import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { LogFile, type LogFileOptions } from '../../src/daemon/log-file.ts';
import { testDirectory } from '../support/directory.ts';

const timeout = 30_000;

async function logDirectory(options: Partial<LogFileOptions> = {}) {
  const directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  const errors: unknown[] = [];
  return {
    at,
    errors,
    open: () =>
      LogFile.open({
        path: at('a.log'),
        maxBytes: 1000,
        maxAge: 0,
        maxBackups: 0,
        compress: false,
        maxBehind: 1 << 20,
        tell: (error) => errors.push(error),
        ...options,
      }),
    names: async () => (await readdir(directory.path)).sort(),
    /** All lines, of backups and the file. */
    async lines(): Promise<string[]> {
      const texts = (await this.names()).map(async (name) => {
        const data = await readFile(at(name));
        return (name.endsWith('.gz') ? gunzipSync(data) : data).toString();
      });
      return (await Promise.all(texts)).join('').split('\n').filter(Boolean).sort();
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

/** Writes numbered lines of 100 characters, some at a time, as a daemon would. */
async function writeLines(file: LogFile, count: number): Promise<string[]> {
  const lines = Array.from({ length: count }, (_, index) => `${index}`.padStart(99, '0'));
  for (const [index, line] of lines.entries()) {
    file.write(`${line}\n`);
    if (index % 5 === 4) await sleep(2);
  }
  return lines;
}

describe('a log file', { timeout }, () => {
  test('is made with its directory, for its owner alone, and goes on where it ended', async () => {
    await using log = await logDirectory();
    const path = log.at('var/log/a.log');
    for (const line of ['one\n', 'two\n']) {
      const file = await LogFile.open({
        path,
        maxBytes: 1000,
        maxAge: 0,
        maxBackups: 0,
        compress: false,
        maxBehind: 1000,
        tell: (error) => assert.fail(String(error)),
      });
      file.write(line);
      await file.close();
    }
    assert.equal(await readFile(path, 'utf8'), 'one\ntwo\n');
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });

  test('that is full many times in a millisecond keeps every backup', async () => {
    await using log = await logDirectory({ maxBytes: 1 });
    const file = await log.open();
    const lines = Array.from({ length: 100 }, (_, index) => `${index}`.padStart(3, '0'));
    for (const line of lines) {
      file.write(`${line}\n`);
      await file.settled();
    }
    await file.close();
    assert.deepEqual(await log.lines(), lines);
  });

  test('becomes a backup when it is full, and no line is lost', async () => {
    await using log = await logDirectory();
    const file = await log.open();
    const lines = await writeLines(file, 100);
    await file.close();
    assert.deepEqual(await log.lines(), lines);
    const backups = (await log.names()).filter((name) => name !== 'a.log');
    assert.ok(backups.length >= 2, backups.join(' '));
    for (const name of backups) assert.match(name, /^a-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log$/);
    assert.deepEqual(log.errors, []);
  });

  test('counts what was in it before', async () => {
    await using log = await logDirectory();
    await writeFile(log.at('a.log'), `${'x'.repeat(999)}\n`);
    const file = await log.open();
    file.write('y\n');
    await file.close();
    assert.equal((await log.names()).length, 2);
    assert.deepEqual(await log.lines(), ['x'.repeat(999), 'y']);
  });

  test('has its backups compressed, those too that an earlier daemon left', async () => {
    await using log = await logDirectory({ compress: true });
    await writeFile(log.at('a-2026-01-31T12-00-00.000.log'), 'left\n');
    await writeFile(log.at('a-2026-01-31T12-00-00.000.log.gz.unfinished'), 'torn');
    const file = await log.open();
    const lines = await writeLines(file, 30);
    await file.close();
    assert.deepEqual(await log.lines(), [...lines, 'left'].sort());
    for (const name of await log.names()) assert.match(name, /^a\.log$|^a-.*\.log\.gz$/);
  });

  test('keeps as many backups as it may, none that is too old, and touches nothing else', async () => {
    await using log = await logDirectory({ maxBackups: 2, maxAge: 5 });
    const daysAgo = (days: number): string => {
      const stamp = new Date(Date.now() - days * 86_400_000).toISOString().replaceAll(':', '-').replace('Z', '');
      return `a-${stamp}.log`;
    };
    const [old, aged, recent, newest] = [daysAgo(9), daysAgo(3), daysAgo(2), daysAgo(1)];
    const others = ['a-b.log', 'a.log.1', `b-${recent.slice(2)}`];
    for (const name of [old, aged, recent, `${newest}.gz`, ...others]) await writeFile(log.at(name), '');
    await (await log.open()).close();
    assert.deepEqual(await log.names(), [recent, `${newest}.gz`, 'a.log', ...others].sort());
    await using short = await logDirectory({ maxAge: 5 });
    for (const name of [old, aged]) await writeFile(short.at(name), '');
    await (await short.open()).close();
    assert.deepEqual(await short.names(), [aged, 'a.log']);
  });

  test('is gone on with under the same name when somebody moved it away', async () => {
    await using log = await logDirectory();
    const file = await log.open();
    file.write('one\n');
    await file.settled();
    await rename(log.at('a.log'), log.at('moved'));
    file.reopen();
    await file.settled();
    file.write('two\n');
    await file.close();
    assert.equal(await readFile(log.at('moved'), 'utf8'), 'one\n');
    assert.equal(await readFile(log.at('a.log'), 'utf8'), 'two\n');
  });

  test('that cannot be opened is an error', async () => {
    await using log = await logDirectory();
    await mkdir(log.at('a.log'));
    await assert.rejects(log.open(), { code: 'EISDIR' });
  });

  test('that cannot be written is told once, and harms nobody', async () => {
    const errors: unknown[] = [];
    const options = { maxBytes: 1000, maxAge: 0, maxBackups: 0, compress: false, maxBehind: 1000 };
    const file = await LogFile.open({ ...options, path: '/dev/full', tell: (error) => errors.push(error) });
    file.write('one\n');
    await file.settled();
    file.write('two\n');
    await file.settled();
    file.write('three\n');
    file.flushSync();
    await file.close();
    assert.deepEqual(
      errors.map((error) => (error instanceof Error && 'code' in error ? error.code : error)),
      ['ENOSPC'],
    );
  });
});
