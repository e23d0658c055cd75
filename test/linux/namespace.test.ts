import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { isKernelError } from '../../src/linux/errors.ts';
import {
  createNamedNamespace,
  deleteNamedNamespace,
  inNewNamespace,
  NetworkNamespace,
} from '../../src/linux/namespace.ts';
import { readSysctl } from '../../src/linux/sysctl.ts';
import { testNamespace } from '../support/namespace.ts';
import { openFiles } from './support.ts';

const here = (): string => readlinkSync('/proc/thread-self/ns/net');
const host = here();

test('a function runs in the namespace, and the thread comes home', async () => {
  await using one = await testNamespace();
  await using two = await testNamespace();
  const [first, second] = [one, two].map(({ namespace }) => namespace.run(here));
  assert.equal(new Set([host, first, second]).size, 3);
  assert.equal(here(), host);
  assert.equal(first, `net:[${one.namespace.id.split(':')[1]}]`);
  assert.equal(NetworkNamespace.host().run(here), host);
});

test('within a run, another namespace can be entered, and each visit leads back to where it began', async () => {
  await using one = await testNamespace();
  await using two = await testNamespace();
  const [first, second] = [one, two].map(({ namespace }) => namespace.run(here));
  const before = openFiles();
  const seen = one.namespace.run(() => {
    const within = two.namespace.run(here);
    const between = here();
    const fresh = inNewNamespace(() => NetworkNamespace.host().run(here));
    assert.throws(() =>
      two.namespace.run(() => {
        throw new Error('failed within');
      }),
    );
    return [within, between, fresh, here()];
  });
  assert.deepEqual(seen, [second, first, host, first]);
  assert.equal(here(), host);
  assert.deepEqual(openFiles(), before);
});

test('whatever fails in whatever order, the thread is at home after', async () => {
  await using home = await testNamespace();
  const fail = (): never => {
    throw new Error('failed within');
  };
  const acts: Readonly<Record<string, () => unknown>> = {
    'a failing run': () => home.namespace.run(fail),
    'a failing run in a run': () => home.namespace.run(() => home.namespace.run(fail)),
    'a run': () => home.namespace.run(here),
    'a new namespace': () => inNewNamespace(here),
    'a failure in a new namespace': () => inNewNamespace(fail),
    'a namespace that is gone': () => NetworkNamespace.open(`${home.path}-gone`),
    'no namespace': () => NetworkNamespace.open('/proc/self/ns/mnt'),
    'a closed namespace': () => {
      const namespace = NetworkNamespace.open(home.path);
      namespace[Symbol.dispose]();
      return namespace.run(here);
    },
    'a sysctl that is not there': () => readSysctl(home.namespace, 'ipv4', 'none').catch(() => {}),
  };
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...Object.keys(acts)), { maxLength: 12 }), async (names) => {
      for (const name of names) {
        try {
          await acts[name]?.();
        } catch {
          // What counts is where the thread is after.
        }
        assert.equal(here(), host, name);
      }
    }),
  );
  const threads = readdirSync('/proc/self/task').map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
  assert.deepEqual([...new Set(threads)], [host]);
});

test('what is no network namespace is refused with its path, and nothing is left open', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'plx-namespace-'));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'file'), '');
  await symlink('/nowhere', join(directory, 'dangling'));
  await promisify(execFile)('mkfifo', [join(directory, 'fifo')]);
  const server = createServer().listen(join(directory, 'socket'));
  t.after(() => server.close());
  const before = openFiles();
  const cases: readonly [path: string, code: string][] = [
    [join(directory, 'none'), 'ENOENT'],
    [join(directory, 'dangling'), 'ENOENT'],
    [join(directory, 'file', 'x'), 'ENOTDIR'],
    [join(directory, 'file'), 'EINVAL'],
    [join(directory, 'socket'), 'ENXIO'],
    [join(directory, 'fifo'), 'EINVAL'],
    [directory, 'EINVAL'],
    ['/dev/null', 'EINVAL'],
    ['/proc/self/ns/uts', 'EINVAL'],
    ['/proc/self/ns/user', 'EINVAL'],
    ['', 'ENOENT'],
  ];
  for (const [path, code] of cases) {
    assert.throws(
      () => NetworkNamespace.open(path),
      (error: unknown) => isKernelError(error, code) && error.message.startsWith(`open network namespace ${path}: `),
      `${path} ${code}`,
    );
  }
  assert.throws(() => NetworkNamespace.open('/proc/self/ns/net\0x'));
  assert.deepEqual(openFiles(), before);
});

test('two paths of one namespace are known as one', async () => {
  await using home = await testNamespace();
  using again = NetworkNamespace.open(home.path);
  assert.equal(again.id, home.namespace.id);
  assert.notEqual(NetworkNamespace.host().id, home.namespace.id);
  using self = NetworkNamespace.open('/proc/self/ns/net');
  assert.equal(self.id, NetworkNamespace.host().id);
});

test('a namespace that was closed cannot be used by its number, nor closed twice', async () => {
  await using home = await testNamespace();
  const namespace = NetworkNamespace.open(home.path);
  const { fd } = namespace;
  namespace[Symbol.dispose]();
  using other = NetworkNamespace.open(home.path);
  assert.equal(other.fd, fd, 'the number is taken again');
  namespace[Symbol.dispose]();
  assert.equal(other.run(here), home.namespace.run(here));
  assert.throws(() => namespace.fd, /was closed/);
  assert.throws(() => namespace.run(here), /was closed/);
});

test("the node's namespace stays open", () => {
  const node = NetworkNamespace.host();
  node[Symbol.dispose]();
  assert.equal(node.run(here), host);
  assert.ok(node.fd > 0);
});

test('a name is taken once, and free again after', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'plx-netns-'));
  t.after(() => rm(directory, { recursive: true }));
  const path = await createNamedNamespace('blue', directory);
  await assert.rejects(createNamedNamespace('blue', directory), { code: 'EEXIST' });
  using namespace = NetworkNamespace.open(path);
  await deleteNamedNamespace(path);
  await deleteNamedNamespace(path);
  assert.deepEqual(readdirSync(directory), []);
  assert.equal(namespace.run(here), `net:[${namespace.id.split(':')[1]}]`);
  for (const name of ['', '.', '..', 'a/b', '../x', 'a b']) {
    await assert.rejects(createNamedNamespace(name, directory), /cannot name a namespace/);
  }
});
