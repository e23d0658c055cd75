import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { encodeRequest } from '../../src/daemon/client.ts';
import { encodeAnswer } from '../../src/daemon/frame.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { buildShim, buildSteppingShim } from '../support/shim.ts';
import { smallDisk } from '../support/small-disk.ts';
import { buildSanitized, callShim, fakeDaemon, type Printed } from './shim.ts';

const timeout = 120_000;

let binary: string;
let sanitized: string;
let directory: TestDirectory;

before(async () => {
  directory = await testDirectory();
  [binary, sanitized] = await Promise.all([buildShim(), buildSanitized(directory.path)]);
});

after(() => directory[Symbol.asyncDispose]());

let count = 0;

/** Directories of one test: none of them is there yet but the first. */
async function places() {
  const at = join(directory.path, String(count++));
  await mkdir(at);
  return { at, socket: join(at, 'plexus.sock'), state: join(at, 'state'), spool: join(at, 'state/spool') };
}

interface Change {
  readonly as?: string;
  readonly command?: string;
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly shim?: string;
}

const cniEnv = (command: string, more: Readonly<Record<string, string>> = {}) => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: 'c1',
  CNI_IFNAME: 'eth0',
  CNI_NETNS: '/run/netns/plx-none',
  ...more,
});

function call({ socket, spool }: { socket: string; spool: string }, change: Change = {}): Promise<Printed> {
  const { as = 'plexus', command = 'DEL', stdin = '{"cniVersion":"1.0.0"}', env = {}, shim = binary } = change;
  const own = {
    PLEXUS_SOCKET: socket,
    PLEXUS_SPOOL: spool,
    PLEXUS_CONNECT_SECONDS: '0',
    PLEXUS_TIMEOUT_SECONDS: '0.3',
  };
  const sanitizer = { ASAN_OPTIONS: 'detect_leaks=0' };
  return callShim({ binary: shim, as, env: { ...own, ...sanitizer, ...cniEnv(command), ...env }, stdin });
}

const success = { status: 0, stdout: Buffer.alloc(0), stderr: '' };

async function messageOf(printing: Promise<Printed>): Promise<string> {
  const { status, stdout, stderr } = await printing;
  assert.deepEqual([status, stderr], [1, '']);
  const { code, msg } = JSON.parse(stdout.toString());
  return `${code} ${msg}`;
}

const filesOf = (path: string): Promise<string[]> => readdir(path).catch(() => []);

describe('a DEL that no daemon answers succeeds, and its frame waits for the daemon', { timeout }, () => {
  for (const [name, listen] of [
    ['no socket', undefined],
    ['a socket on which nobody listens', 'nobody'],
    ['a daemon that says nothing', 'silent'],
    ['a daemon that hangs up', 'end'],
    ['a daemon that ends in the midst of its answer', 'half'],
  ] as const) {
    test(name, async () => {
      const it = await places();
      await using stack = new AsyncDisposableStack();
      if (listen === 'nobody') {
        const server = createServer().listen(it.socket);
        await promisify(execFile)('mv', [it.socket, `${it.socket}.kept`]);
        server.close();
        await promisify(execFile)('mv', [`${it.socket}.kept`, it.socket]);
      } else if (listen !== undefined) {
        const frame = encodeAnswer({ exitStatus: 0, stdout: 'x'.repeat(100) });
        stack.use(
          await fakeDaemon(it.socket, frame, (socket) => {
            if (listen === 'end') socket.destroy();
            else if (listen === 'half') socket.end(frame.subarray(0, 50));
            else socket.resume();
          }),
        );
      }
      assert.deepEqual(await call(it, { stdin: '{"name":"ü"}' }), success);
      const [file = '', ...more] = await readdir(it.spool);
      assert.deepEqual(more, []);
      assert.match(file, /^plexus:c1:eth0:[0-9a-f]{16}$/);
      const expected = encodeRequest({ name: 'plexus', env: cniEnv('DEL'), stdin: '{"name":"ü"}' });
      const left = await readFile(join(it.spool, file));
      // The environment has no order.
      assert.equal(left.length, expected.length);
      assert.deepEqual([...left].toSorted(), [...expected].toSorted());
      assert.equal((await stat(join(it.spool, file))).mode & 0o777, 0o600);
      for (const made of [it.state, it.spool]) assert.equal((await stat(made)).mode & 0o777, 0o700);
    });
  }

  test('where the configuration says', async () => {
    const it = await places();
    const stdin = JSON.stringify({ spoolDir: join(it.at, 'other') });
    assert.deepEqual(await call({ ...it, spool: '' }, { stdin }), success);
    assert.equal((await readdir(join(it.at, 'other'))).length, 1);
  });

  test('one that is repeated waits once; another configuration, interface, container or plugin is another request', async () => {
    const it = await places();
    for (let i = 0; i < 3; i++) assert.deepEqual(await call(it), success);
    assert.equal((await readdir(it.spool)).length, 1);
    const others: readonly Change[] = [
      { stdin: '{}' },
      { env: { CNI_IFNAME: 'net1' } },
      { env: { CNI_CONTAINERID: 'c2' } },
      { as: 'macvlan' },
    ];
    for (const other of others) assert.deepEqual(await call(it, other), success);
    assert.equal((await readdir(it.spool)).length, 5);
  });

  test('other commands wait for nothing: the runtime asks again', async () => {
    const it = await places();
    for (const command of ['ADD', 'CHECK', 'GC', 'STATUS', 'VERSION']) {
      assert.match(await messageOf(call(it, { command })), /^11 no Plexus daemon listens at /);
    }
    assert.deepEqual(await filesOf(it.spool), []);
  });

  test("under a plugin's name only in a directory that is there: the configuration is not the administrator's", async () => {
    const it = await places();
    const stdin = JSON.stringify({ spoolDir: join(it.at, 'other') });
    assert.match(
      await messageOf(call(it, { as: 'ipvlan', stdin })),
      /^11 no Plexus daemon listens at .*; and the DEL could not be left for it in .*\/state\/spool: open the directory: No such file or directory$/,
    );
    await mkdir(it.spool, { recursive: true, mode: 0o700 });
    assert.deepEqual(await call(it, { as: 'ipvlan', stdin }), success);
    assert.match((await readdir(it.spool)).join(), /^ipvlan:c1:eth0:[0-9a-f]{16}$/);
    assert.deepEqual(await filesOf(join(it.at, 'other')), []);
  });
});

describe('a DEL that cannot be left is an error that names both reasons', { timeout }, () => {
  const refused = /^11 no Plexus daemon listens at .*; and the DEL could not be left for it in (.*): (.*)$/;

  for (const [name, change, why] of [
    ['a container ID of other characters', { env: { CNI_CONTAINERID: '../c1' } }, /^CNI_CONTAINERID is missing, or/],
    ['no container ID', { env: { CNI_CONTAINERID: '' } }, /^CNI_CONTAINERID is missing, or/],
    ['an interface with a colon', { env: { CNI_IFNAME: 'eth0:1' } }, /^CNI_IFNAME is missing, or/],
    ['an interface ..', { env: { CNI_IFNAME: '..' } }, /^CNI_IFNAME is missing, or/],
    ['an interface that is too long', { env: { CNI_IFNAME: 'x'.repeat(16) } }, /^CNI_IFNAME is missing, or/],
    ['a name of other characters', { as: 'a b' }, /^the name that this was called under has/],
    [
      'a name for which there is no room',
      { as: 'x'.repeat(60), env: { CNI_CONTAINERID: 'c'.repeat(200) } },
      /too long$/,
    ],
    ['a request that is too long', { stdin: ' '.repeat(1 << 20) }, /^the request has more than 1 MiB$/],
  ] as const) {
    test(name, async () => {
      const it = await places();
      const [, where, reason = ''] = refused.exec(await messageOf(call(it, change))) ?? [];
      assert.equal(where, it.spool);
      assert.match(reason, why);
      assert.deepEqual(await filesOf(it.spool), []);
    });
  }

  test('a directory that others may write to, and what is no directory', async () => {
    const it = await places();
    await mkdir(it.spool, { recursive: true });
    await chmod(it.spool, 0o777);
    assert.match(await messageOf(call(it)), /: the directory belongs to another user, or others may write to it$/);
    const link = join(it.at, 'link');
    await symlink(it.state, link);
    assert.match(await messageOf(call({ ...it, spool: link })), /: open the directory: /);
    const file = join(it.at, 'file');
    await writeFile(file, '');
    assert.match(await messageOf(call({ ...it, spool: file })), /: open the directory: Not a directory$/);
    assert.match(
      await messageOf(call({ ...it, spool: join(file, 'spool') })),
      /: make the directory: Not a directory$/,
    );
  });

  test('a full disk', async () => {
    const it = await places();
    await using disk = await smallDisk();
    await writeFile(join(disk.path, 'full'), Buffer.alloc(60 << 10));
    const spool = join(disk.path, 'spool');
    const stdin = JSON.stringify({ x: 'y'.repeat(32 << 10) });
    assert.match(await messageOf(call({ ...it, spool }, { stdin })), /: write: No space left on device$/);
    assert.deepEqual(await readdir(spool), []);
  });

  test('more requests than a node can have', async () => {
    const it = await places();
    await mkdir(it.spool, { recursive: true, mode: 0o700 });
    // `.` and `..` are entries as well.
    for (let i = 0; i < 4094; i++) await writeFile(join(it.spool, `plexus:c${i}:eth9:0123456789abcdef`), '');
    assert.match(await messageOf(call(it)), /: too many requests wait there already$/);
  });
});

test('a shim that is killed leaves the request as a whole or not at all', { timeout }, async (t) => {
  const shim = await buildSteppingShim();
  const whole = encodeRequest({ name: 'plexus', env: cniEnv('DEL'), stdin: '{"cniVersion":"1.0.0"}' }).length;
  let left = 0;
  for (let step = 1; ; step++) {
    const it = await places();
    const { status } = await call(it, { shim, env: { PLEXUS_KILL_AT_STEP: String(step) } });
    const requests = (await readdir(it.spool)).filter((name) => !name.startsWith('.unfinished-'));
    for (const name of requests) assert.equal((await stat(join(it.spool, name))).size, whole, `step ${step}`);
    left += requests.length;
    if (status === 0) {
      assert.equal(requests.length, 1);
      t.diagnostic(`killed at ${step - 1} steps`);
      assert.ok(step > 4 && left > 1, `${step} steps`);
      break;
    }
    assert.equal(status, 'SIGKILL', `step ${step}`);
  }
});

test('whatever the environment, what is left stays within the directory', { timeout }, async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }).map((each) => each.replaceAll('\0', '')),
    fc.constantFrom('', '.', '..', '../x', 'a/b', 'a:b', 'c1', 'eth0', 'x'.repeat(199), 'x'.repeat(201)),
  );
  const calls = fc.array(
    fc.record({ id: text, ifName: text, as: fc.oneof(fc.constant('plexus'), text), stdin: text }),
    {
      minLength: 8,
      maxLength: 8,
    },
  );
  const it = await places();
  const before = await readdir(it.at);
  await fc.assert(
    fc.asyncProperty(calls, async (some) => {
      const printed = await Promise.all(
        some.map(({ id, ifName, as, stdin }) =>
          call(it, { shim: sanitized, as, stdin, env: { CNI_CONTAINERID: id, CNI_IFNAME: ifName } }),
        ),
      );
      for (const [index, each] of printed.entries()) {
        assert.equal(each.stderr, '');
        const { id = '', ifName = '', as = '' } = some[index] ?? {};
        if (each.status === 0) assert.match(`${id} ${ifName}`, /^[a-zA-Z0-9][\w.-]{0,199} [!-~]{1,15}$/);
        else assert.equal(JSON.parse(each.stdout.toString()).code, Buffer.byteLength(as) > 255 ? 4 : 11);
      }
      for (const name of await filesOf(it.spool)) assert.match(name, /^[\w.-]+:[\w.-]+:[!-~]+:[0-9a-f]{16}$/);
    }),
    { numRuns: 15 },
  );
  assert.deepEqual(
    (await readdir(it.at)).filter((name) => name !== 'state'),
    before,
  );
});
