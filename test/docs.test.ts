import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { settingsSchema } from '../src/attach/settings.ts';
import { ErrorCode } from '../src/cni/error.ts';
import { daemonSchema, idleReasons } from '../src/daemon/config.ts';
import { Metrics } from '../src/daemon/metrics.ts';
import { builtinPlugins } from '../src/plugins/builtin.ts';

/* Holds what is written for people against what is there. */

const root = resolve(import.meta.dirname, '..');

const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** Every page, by its path in the repository. */
const pages = globSync('**/*.md', {
  cwd: root,
  exclude: (name) => ['.git', '.cache', 'build', 'node_modules'].includes(name),
}).toSorted();

test('there are pages, and the readme is one', () => {
  assert.ok(pages.includes('README.md'), pages.join(' '));
});

test('every link leads to a file that is there, and to a heading that is in it', () => {
  for (const page of pages) {
    for (const [, target = ''] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path = '', fragment] = target.split('#');
      const file = path === '' ? page : relative(root, resolve(root, dirname(page), path));
      assert.ok(existsSync(join(root, file)), `${page}: ${target} leads nowhere`);
      if (fragment === undefined) continue;
      assert.ok(headingsOf(read(file)).includes(fragment), `${page}: ${target}: ${file} has no such heading`);
    }
  }
});

/** As GitHub names the anchors of headings. */
function headingsOf(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].flatMap(([, heading]) => heading ?? []);
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

test('every make target that is named is in the Makefile', () => {
  const targets = new Set([...read('Makefile').matchAll(/^([a-z-]+):/gm)].map(([, target]) => target));
  for (const page of pages) {
    for (const [, target] of read(page).matchAll(/(?:`|^ {4})make ([a-z-]+)/gm)) {
      assert.ok(targets.has(target), `${page}: make ${target} is not in the Makefile`);
    }
  }
});

test('every file of the repository that is named is there', () => {
  const named = /(?<![\w/.-])(?:bench|bin|docs|examples|shim|src|test|tools)\/[\w./-]*\w/g;
  for (const page of pages) {
    for (const [path] of read(page).matchAll(named)) {
      // A plugin that a reader is shown how to add.
      if (page === 'CONTRIBUTING.md' && basename(path).startsWith('geneve.')) continue;
      assert.ok(existsSync(join(root, path)), `${page}: ${path} is not there`);
    }
  }
});

test('every built-in plugin has a section, and every section is a built-in plugin', () => {
  const sections = [...read('docs/plugins.md').matchAll(/^## (.*)$/gm)].map(([, heading]) => heading);
  assert.deepEqual(sections.toSorted(), builtinPlugins.map(({ type }) => type).toSorted());
});

test('every example of a plugin is its configuration', () => {
  for (const section of read('docs/plugins.md').split(/^## /m).slice(1)) {
    const [plugin = ''] = section.split('\n', 1);
    const examples = section.match(/(?:^ {4}.*\n)+/gm) ?? [];
    assert.notEqual(examples.length, 0, plugin);
    for (const example of examples) assert.equal(JSON.parse(example).type, plugin);
  }
});

test('every configuration key is in the tables with its default, and nothing else is', () => {
  const [, daemon = '', attachments = ''] = read('docs/run-the-daemon.md').split(/^\| key \| default \|.*$/m);
  assert.deepEqual(keysOf(daemon), defaultsOf(daemonSchema));
  assert.deepEqual(keysOf(attachments), defaultsOf(settingsSchema));
});

test('every key that changes nothing is in the table of those', () => {
  const [, idle = ''] = read('docs/run-the-daemon.md').split(/^\| key \| why it changes nothing \|.*$/m);
  assert.deepEqual(keysOf(idle), idleReasons);
});

/** The first two columns of a table. */
function keysOf(text: string): Record<string, string> {
  const [table = ''] = text.split('\n\n');
  const rows = [...table.matchAll(/^\| `(\w+)` \| `?(.*?)`? \|/gm)];
  return Object.fromEntries(rows.map(([, key = '', value = '']) => [key, value]));
}

/** `required` for a key that must be given, `none` for one that need not and has no default. */
function defaultsOf({ shape }: z.ZodObject<Readonly<Record<string, z.ZodType>>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(shape).map(([key, schema]) => {
      const { success, data } = schema.safeParse(undefined);
      if (!success) return [key, 'required'];
      if (data === undefined) return [key, 'none'];
      return [key, typeof data === 'string' ? data : JSON.stringify(data)];
    }),
  );
}

test('every command is in the table, and nothing else is', () => {
  const sources = globSync('src/cli/*.ts', { cwd: root }).map(read).join('\n');
  const made = [...sources.matchAll(/new Command\('([a-z]+)'\)/g)].flatMap(([, name]) => name ?? []);
  const rows = [...read('docs/commands.md').matchAll(/^\| (`plexus .*?) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`plexus ([a-z]+)/g)].flatMap(([, name]) => name ?? []),
  );
  assert.deepEqual([...new Set(rows)].toSorted(), made.toSorted());
});

test("the shim's variables and keys are in the table, with what they are without", () => {
  const source = globSync('shim/*.c', { cwd: root }).map(read).join('\n');
  const page = read('docs/run-the-daemon.md');
  const names = [...source.matchAll(/"(PLEXUS_[A-Z_]+)"|"\\"(\w+)\\""/g)].map(([, variable, key]) => variable ?? key);
  assert.ok(names.length >= 7, names.join(' '));
  for (const name of names) {
    if (/^(cniVersion|runtimeConfig|PLEXUS_VERSION|PLEXUS_KILL_AT_STEP)$/.test(name ?? '')) continue;
    assert.match(page, new RegExp(`^\\|.*\`${name}\``, 'm'), `${name} is not in a table`);
  }
  const settings = /"(\/[\w/]+)" SOCKET_NAME, "(\/[\w/]+)", (\d+), (\d+)\}/.exec(source);
  const [, directory, spool, timeout, connect] = settings ?? [];
  assert.match(page, new RegExp(`\`PLEXUS_SOCKET\`.*\\| \`${directory}/plexus.sock\` \\|`));
  assert.match(page, new RegExp(`\`PLEXUS_SPOOL\`.*\\| \`${spool}\` \\|`));
  assert.match(page, new RegExp(`\`PLEXUS_TIMEOUT_SECONDS\`.*\\| ${Number(timeout) / 1000} \\|`));
  assert.match(page, new RegExp(`\`PLEXUS_CONNECT_SECONDS\`.*\\| ${Number(connect) / 1000} \\|`));
});

test('every error code is in the table', () => {
  const rows = [...read('docs/when-something-is-wrong.md').matchAll(/^\| (\d+) \| (\w+) \|/gm)];
  assert.deepEqual(Object.fromEntries(rows.map(([, code, name]) => [name, Number(code)])), ErrorCode);
});

test('every metric is in the table with its labels', () => {
  const rows = [...read('docs/when-something-is-wrong.md').matchAll(/^\| `(plexus_\w+)` \| ([\w, ]+) \|/gm)];
  const listed = Object.fromEntries(rows.map(([, name, labels = '']) => [name, labels.split(', ')]));
  const metrics = new Metrics().registry.getMetricsAsArray().filter(({ name }) => name.startsWith('plexus_'));
  const labels = z.object({ labelNames: z.array(z.string()) });
  const there = metrics.map((metric) => [metric.name, labels.parse(metric).labelNames]);
  assert.deepEqual(listed, Object.fromEntries(there));
});

test('decisions are numbered without a gap, and all are in the index', () => {
  const files = pages
    .filter((page) => /^docs\/decisions\/\d/.test(page))
    .map((page) => basename(page))
    .toSorted();
  const numbers = files.map((file) => Number(file.slice(0, 4)));
  assert.deepEqual(
    numbers,
    files.map((_, index) => index + 1),
  );
  const index = [...read('docs/decisions/README.md').matchAll(/^\| \[(\d+)\]\((.*)\) \|/gm)];
  assert.deepEqual(
    index.map(([, , file]) => file),
    files,
  );
  for (const file of files) {
    const text = read(`docs/decisions/${file}`);
    assert.match(text, new RegExp(`^# ${Number(file.slice(0, 4))}\\. `), `${file}: its title has another number`);
    assert.match(
      text,
      /^Date: \d{4}-\d\d-\d\d\. Status: (proposed|accepted|succeeded)/m,
      `${file}: no date and status`,
    );
  }
});

/** Where pages may lead to, outside of the repository. */
const hosts = new Set(['keepachangelog.com', 'semver.org', '127.0.0.1']);

/** The first parts of absolute paths: of a Linux system, and of APIs. */
const tops = new Set(['api', 'apis', 'dev', 'etc', 'opt', 'proc', 'run', 'sys', 'tmp', 'usr', 'var']);

test('pages tell nothing of the machine that they were written on', () => {
  for (const page of pages) {
    const text = read(page);
    for (const [, host = ''] of text.matchAll(/https?:\/\/([\w.-]+)/g)) assert.ok(hosts.has(host), `${page}: ${host}`);
    for (const [path, top = ''] of text.matchAll(/(?<![\w.~<>)\]}*:/-])\/([a-z]+)\/\w/g)) {
      assert.ok(tops.has(top), `${page}: ${path}...`);
    }
  }
});

test('the readme is short', () => {
  assert.ok(read('README.md').split('\n').length <= 130);
});
