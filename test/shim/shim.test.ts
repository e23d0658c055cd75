import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, stat, symlink } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { encodeAnswer } from '../../src/daemon/frame.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { buildShim } from '../support/shim.ts';
import { type Call, callShim, fakeDaemon } from './shim.ts';

const timeout = 60_000;
const ok = encodeAnswer({ exitStatus: 0, stdout: 'fine' });

let binary: string;
let directory: TestDirectory;

before(async () => {
  binary = await buildShim();
  directory = await testDirectory();
});

after(() => directory[Symbol.asyncDispose]());

let count = 0;

/** A directory for a socket of its own. */
async function socketDirectory(): Promise<{ readonly dir: string; readonly path: string }> {
  const dir = join(directory.path, String(count++));
  await mkdir(dir);
  return { dir, path: join(dir, 'plexus.sock') };
}

/** A call whose daemon is where the environment says. */
function call(path: string, rest: Partial<Call> & { readonly more?: Record<string, string> } = {}) {
  const { more = {}, ...change } = rest;
  const env = { CNI_COMMAND: 'ADD', PLEXUS_SOCKET: path, PLEXUS_CONNECT_SECONDS: '0', ...more };
  return callShim({ binary, env, stdin: '{}', ...change });
}

/** The error that a call printed. */
async function errorOf(printing: ReturnType<typeof callShim>): Promise<Readonly<Record<string, unknown>>> {
  const { status, stdout, stderr } = await printing;
  assert.deepEqual([status, stderr], [1, '']);
  return JSON.parse(stdout.toString());
}

async function messageOf(printing: ReturnType<typeof callShim>): Promise<string> {
  const { code, msg } = await errorOf(printing);
  return `${code} ${msg}`;
}

test('the binary is static and under 1 MB', async () => {
  const file = await readFile(binary);
  assert.ok(file.length < 1_000_000, `${file.length} bytes`);
  // An ELF file for 64 bits; a program header of type 3, PT_INTERP, names a dynamic linker (elf(5)).
  assert.equal(file.toString('latin1', 0, 5), '\x7fELF\x02');
  const at = Number(file.readBigUInt64LE(32));
  const [size, headers] = [file.readUInt16LE(54), file.readUInt16LE(56)];
  const types = Array.from({ length: headers }, (_, index) => file.readUInt32LE(at + index * size));
  assert.ok(types.includes(1) && !types.includes(3), `program headers ${types}`);
});

describe('what is carried', { timeout }, () => {
  test('there: the name, the CNI_* environment and standard input, and nothing else', async () => {
    const { path } = await socketDirectory();
    await using daemon = await fakeDaemon(path, ok);
    const env = { CNI_CONTAINERID: 'c1', CNI_ARGS: 'A=1;B= ü=', CNI_EMPTY: '', AWS_SECRET: 'no', CNIX: 'no' };
    await call(path, { as: '/opt/cni/bin/ipvlan', more: env, stdin: ' {"type":"ü"}\n' });
    assert.deepEqual(daemon.requests, [
      {
        name: 'ipvlan',
        env: { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_ARGS: 'A=1;B= ü=', CNI_EMPTY: '' },
        stdin: ' {"type":"ü"}\n',
      },
    ]);
  });

  test('there: 8 MiB of standard input', async () => {
    const { path } = await socketDirectory();
    await using daemon = await fakeDaemon(path, ok);
    const stdin = `{"x":"${'y'.repeat((8 << 20) - 8)}"}`;
    assert.equal((await call(path, { stdin })).status, 0);
    assert.equal(daemon.requests[0]?.stdin, stdin);
  });

  for (const [as, name] of [
    ['', 'plexus'],
    ['/opt/cni/bin/', 'plexus'],
    ['./a b', 'a b'],
  ] as const) {
    test(`there: the name "${name}" when called as "${as}"`, async () => {
      const { path } = await socketDirectory();
      await using daemon = await fakeDaemon(path, ok);
      await call(path, { as });
      assert.equal(daemon.requests[0]?.name, name);
    });
  }

  test('there: the name of a link', async () => {
    const { dir, path } = await socketDirectory();
    await using daemon = await fakeDaemon(path, ok);
    await symlink(binary, join(dir, 'host-local'));
    const env = { CNI_COMMAND: 'ADD', PLEXUS_SOCKET: path };
    const child = spawn(join(dir, 'host-local'), { env, stdio: ['ignore', 'ignore', 'inherit'] });
    assert.deepEqual(await once(child, 'close'), [0, null]);
    assert.equal(daemon.requests[0]?.name, 'host-local');
  });

  test('back: the exit status and what is printed, to the byte', async () => {
    const { path } = await socketDirectory();
    for (const [exitStatus, stdout] of [
      [0, ''],
      [1, '{"code":7}\n'],
      [255, '\0ü'.repeat(1 << 20)],
    ] as const) {
      await using _ = await fakeDaemon(path, encodeAnswer({ exitStatus, stdout }));
      const printed = await call(path);
      assert.equal(printed.status, exitStatus);
      assert.ok(printed.stdout.equals(Buffer.from(stdout)));
    }
  });

  test('back: an answer that comes in pieces, and one before the call was read', async () => {
    const { path } = await socketDirectory();
    const frame = encodeAnswer({ exitStatus: 2, stdout: 'abc' });
    const drip = async (socket: Socket): Promise<void> => {
      for (const byte of frame) await new Promise((done) => socket.write(Uint8Array.of(byte), done));
    };
    await using _ = await fakeDaemon(path, ok, (socket) => void drip(socket));
    assert.deepEqual(await call(path), { status: 2, stdout: Buffer.from('abc'), stderr: '' });
    const early = await socketDirectory();
    await using __ = await fakeDaemon(early.path, ok, (socket) => socket.end(frame, () => socket.destroy()));
    const printed = await call(early.path, { stdin: 'x'.repeat(4 << 20) });
    assert.deepEqual(printed, { status: 2, stdout: Buffer.from('abc'), stderr: '' });
  });

  test('to nobody: a result that cannot be printed is no success', async () => {
    const { path } = await socketDirectory();
    await using _ = await fakeDaemon(path, ok);
    const env = { CNI_COMMAND: 'ADD', PLEXUS_SOCKET: path };
    for (const redirection of ['>&-', '> /dev/full', '<&- >&- 2>&-']) {
      const child = spawn('sh', ['-c', `exec "$0" ${redirection}`, binary], {
        env,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      assert.deepEqual(await once(child, 'close'), [1, null], redirection);
    }
  });
});

describe('without a command', { timeout }, () => {
  test('it tells what it is', async () => {
    const { status, stdout, stderr } = await callShim({ binary, as: 'ipvlan', env: { CNI_COMMAND: '' } });
    assert.deepEqual([status, stdout.length], [0, 0]);
    assert.match(
      stderr,
      /^CNI plugin ipvlan of Plexus \d+\.\d+\.\d+, answered by the daemon at \/run\/plexus\/plexus\.sock\nCNI protocol versions supported: 0\.1\.0, .*, 1\.1\.0\n$/,
    );
  });

  test('VERSION from a terminal waits for no configuration', async () => {
    const { path } = await socketDirectory();
    await using daemon = await fakeDaemon(path, ok);
    const command = `CNI_COMMAND=VERSION PLEXUS_SOCKET=${path} ${binary}`;
    const { stdout } = await promisify(execFile)('script', ['-qec', command, '/dev/null']);
    assert.equal(stdout, 'fine');
    assert.equal(daemon.requests[0]?.stdin, '');
  });
});

describe('a daemon that does not answer is an error to try again after', { timeout }, () => {
  const limited = { PLEXUS_TIMEOUT_SECONDS: '0.2' };

  test('none is there, and the socket is named, in the version asked for', async () => {
    const { path } = await socketDirectory();
    assert.deepEqual(await errorOf(call(path, { stdin: '{"cniVersion":"0.4.0"}' })), {
      cniVersion: '0.4.0',
      code: 11,
      msg: `no Plexus daemon listens at ${path}: No such file or directory`,
      details: 'start the Plexus daemon on this node, or see its log; `plexus doctor` says what the node lacks',
    });
  });

  test('its socket was left behind', async () => {
    const { path } = await socketDirectory();
    const server = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await once(server, 'close');
    await stat(path);
    assert.equal(await messageOf(call(path)), `11 no Plexus daemon listens at ${path}: Connection refused`);
  });

  test('one that restarts is waited for', async () => {
    const { path } = await socketDirectory();
    const printing = call(path, { more: { PLEXUS_CONNECT_SECONDS: '30' } });
    await new Promise(setImmediate);
    await using _ = await fakeDaemon(path, ok);
    assert.equal((await printing).status, 0);
  });

  test('it takes the call and says nothing', async () => {
    const { path } = await socketDirectory();
    await using _ = await fakeDaemon(path, ok, (socket) => socket.resume());
    assert.equal(
      await messageOf(call(path, { more: limited })),
      `11 the Plexus daemon at ${path} did not answer in 200 ms`,
    );
  });

  test('it does not read the call', async () => {
    const { path } = await socketDirectory();
    await using _ = await fakeDaemon(path, ok, (socket) => socket.pause());
    const stdin = 'x'.repeat(4 << 20);
    assert.equal(
      await messageOf(call(path, { more: limited, stdin })),
      `11 the Plexus daemon at ${path} did not read the call in 200 ms`,
    );
  });

  test('more callers wait than it takes', async () => {
    const { path } = await socketDirectory();
    const script = `require('net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => process.kill(process.pid, 'SIGSTOP'))`;
    const server = spawn(process.execPath, ['-e', script]);
    while (!(await stoppedNow(server.pid))) await new Promise(setImmediate);
    const waiting = [1, 2, 3].map(() => connect(path).on('error', () => undefined));
    try {
      assert.equal(
        await messageOf(call(path, { more: limited })),
        `11 the Plexus daemon at ${path} did not accept the call in 200 ms`,
      );
    } finally {
      for (const socket of waiting) socket.destroy();
      server.kill('SIGKILL');
    }
  });

  for (const sent of [0, 3, 8, 10]) {
    test(`it hangs up after ${sent} bytes`, async () => {
      const { path } = await socketDirectory();
      await using _ = await fakeDaemon(path, ok.subarray(0, sent));
      assert.equal(
        await messageOf(call(path)),
        `11 the Plexus daemon at ${path} hung up after ${sent} bytes of its answer`,
      );
    });
  }
});

async function stoppedNow(pid: number | undefined): Promise<boolean> {
  return /^State:\tT/m.test(await readFile(`/proc/${pid}/status`, 'utf8'));
}

describe('an answer that makes no sense is an error', { timeout }, () => {
  for (const [name, bytes] of [
    ['of another protocol', Buffer.from('HTTP/1.1 400')],
    ['without a status', Buffer.from('PLX1\0\0\0\0')],
    ['that is too long', Buffer.from('PLX1\xf9\xff\xff\0', 'latin1')],
    ['that is far too long', Buffer.from('PLX1\xff\xff\xff\xff', 'latin1')],
  ] as const) {
    test(name, async () => {
      const { path } = await socketDirectory();
      await using _ = await fakeDaemon(path, bytes);
      const hex = `${bytes.toString('hex', 0, 4)} ${bytes.toString('hex', 4, 8)}`;
      assert.equal(
        await messageOf(call(path)),
        `5 expected an answer of 1 to 16777208 bytes from the Plexus daemon at ${path}, found one that begins ${hex}`,
      );
    });
  }

  test('of a daemon of another user', async () => {
    const { dir, path } = await socketDirectory();
    for (const each of [directory.path, dir]) await chmod(each, 0o777);
    const server = createServer();
    // The kernel notes who listens at that moment.
    process.seteuid?.(65534);
    server.listen(path);
    process.seteuid?.(0);
    try {
      assert.equal(
        await messageOf(call(path)),
        `5 expected the Plexus daemon of root at ${path}, found process ${process.pid} of user 65534`,
      );
    } finally {
      server.close();
      await chmod(directory.path, 0o700);
    }
  });

  test('of what is no socket', async () => {
    assert.equal(
      await messageOf(call('/dev/null/plexus.sock')),
      '5 connect to the Plexus daemon at /dev/null/plexus.sock: Not a directory',
    );
  });
});

describe('the configuration says where the daemon is', { timeout }, () => {
  const env = { CNI_COMMAND: 'ADD', PLEXUS_CONNECT_SECONDS: '0' };
  const socketFor = async (stdin: string, as = 'plexus', more = {}): Promise<string> => {
    const message = await messageOf(callShim({ binary, as, env: { ...env, ...more }, stdin }));
    return /^11 no Plexus daemon listens at (.*): No such file or directory$/.exec(message)?.[1] ?? message;
  };

  const cases: readonly [string, string, string][] = [
    ['socketDir', '{"socketDir":"/nowhere/a"}', '/nowhere/a/plexus.sock'],
    [
      'daemonSocketDir before socketDir',
      '{"daemonSocketDir":"/nowhere/b","socketDir":"/nowhere/a"}',
      '/nowhere/b/plexus.sock',
    ],
    [
      'the last of several, as in JSON',
      '{"socketDir":"/nowhere/a", "socketDir" : "/nowhere/b"}',
      '/nowhere/b/plexus.sock',
    ],
    ['white space anywhere', '\n{ "socketDir"\t:\r\n"/nowhere/a" }', '/nowhere/a/plexus.sock'],
    [
      'only at the top',
      '{"socketDir":"/nowhere/a","x":{"socketDir":"/nowhere/b"},"y":[{"socketDir":"/nowhere/b"}]}',
      '/nowhere/a/plexus.sock',
    ],
    [
      'only as a key',
      '{"socketDir":"/nowhere/a","x":"socketDir","y":"\\"socketDir\\":\\"/nowhere/b\\""}',
      '/nowhere/a/plexus.sock',
    ],
    ['not if empty', '{"socketDir":"/nowhere/a","daemonSocketDir":""}', '/nowhere/a/plexus.sock'],
    [
      'a relative path is refused',
      '{"socketDir":"run"}',
      '7 standard input, "socketDir": expected an absolute path of at most 95 bytes, without escapes',
    ],
    [
      'an escape is refused',
      '{"socketDir":"\\/nowhere"}',
      '7 standard input, "socketDir": expected an absolute path of at most 95 bytes, without escapes',
    ],
    [
      'a number is refused',
      '{"socketDir":1}',
      '7 standard input, "socketDir": expected an absolute path of at most 95 bytes, without escapes',
    ],
    [
      'an object is refused',
      '{"socketDir":{"a":"/nowhere"}}',
      '7 standard input, "socketDir": expected an absolute path of at most 95 bytes, without escapes',
    ],
    [
      'a path that is too long is refused',
      `{"socketDir":"/${'x'.repeat(95)}"}`,
      '7 standard input, "socketDir": expected an absolute path of at most 95 bytes, without escapes',
    ],
    ['a path that just fits', `{"socketDir":"/${'x'.repeat(94)}"}`, `/${'x'.repeat(94)}/plexus.sock`],
  ];
  for (const [name, stdin, expected] of cases) {
    test(name, async () => assert.equal(await socketFor(stdin), expected));
  }

  test('to the meta-plugin alone, and the environment counts more', async () => {
    const stdin = '{"socketDir":"/nowhere/a"}';
    for (const as of ['plexus', 'multus', 'multus-shim'])
      assert.equal(await socketFor(stdin, as), '/nowhere/a/plexus.sock');
    const more = { PLEXUS_SOCKET: '/nowhere/b.sock' };
    for (const as of ['multus', 'macvlan']) assert.equal(await socketFor(stdin, as, more), '/nowhere/b.sock');
    const { stderr } = await callShim({ binary, as: 'macvlan', env: {}, stdin });
    assert.match(stderr, / at \/run\/plexus\/plexus\.sock\n/);
  });

  test('exactly where a JSON reader would find it', async () => {
    const value = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom('/nowhere/a', '/nowhere/b', 'x"y', 'a\\', '{', '}', ',', ':', '[', ']'),
    );
    const key = fc.oneof(fc.constantFrom('socketDir', 'cniVersion', 'cniversion', 'a\\', '"', '{'), fc.string());
    const configuration = fc
      .dictionary(key, value, { maxKeys: 6 })
      .map((object) => ({ ...object, socketDir: '/nowhere/found' }));
    const shuffled = fc.tuple(configuration, fc.nat()).map(([object, seed]) => {
      const entries = Object.entries(object);
      return Object.fromEntries([...entries.slice(seed % entries.length), ...entries.slice(0, seed % entries.length)]);
    });
    await fc.assert(
      fc.asyncProperty(shuffled, fc.constantFrom(undefined, 1, '\t'), async (object, space) => {
        const { cniVersion, msg } = await errorOf(
          callShim({ binary, env, stdin: JSON.stringify(object, null, space) }),
        );
        const stated = object['cniVersion'];
        const usable = typeof stated === 'string' && /^[0-9.]{1,15}$/.test(stated);
        assert.equal(cniVersion, usable ? stated : '0.1.0');
        assert.equal(msg, 'no Plexus daemon listens at /nowhere/found/plexus.sock: No such file or directory');
      }),
      { numRuns: 150 },
    );
  });
});

describe('times', { timeout }, () => {
  test('come from the configuration, and the environment counts more', async () => {
    const { path } = await socketDirectory();
    await using _ = await fakeDaemon(path, ok, (socket) => socket.resume());
    const stdin = '{"timeoutSeconds":0.25,"connectSeconds":1.5}';
    assert.match(await messageOf(call(path, { stdin })), /did not answer in 250 ms$/);
    const more = { PLEXUS_TIMEOUT_SECONDS: '.1' };
    assert.equal(
      await messageOf(call(path, { stdin, more })),
      '4 PLEXUS_TIMEOUT_SECONDS: expected seconds, 0 to 86400, found ".1"',
    );
    assert.match(await messageOf(call(path, { stdin, more: { PLEXUS_TIMEOUT_SECONDS: '0.1' } })), /in 100 ms$/);
  });

  for (const value of ['-1', '1e3', '"60"', '86400.5', '99999999999999999999', '1.2.3', 'null', '[1]', '{}', 'x']) {
    test(`cannot be ${value}`, async () => {
      const { path } = await socketDirectory();
      assert.equal(
        await messageOf(call(path, { stdin: `{"timeoutSeconds": ${value}}` })),
        '7 standard input, "timeoutSeconds": expected seconds, 0 to 86400',
      );
    });
  }
});

describe('what cannot be carried is an error', { timeout }, () => {
  test('more standard input than fits', async () => {
    const stdin = 'x'.repeat((8 << 20) + 1);
    assert.equal(await messageOf(call('/nowhere', { stdin })), '5 standard input has more than 8388608 bytes');
  });

  test('standard input that does not end', async () => {
    const env = { CNI_COMMAND: 'ADD', PLEXUS_TIMEOUT_SECONDS: '0.1' };
    const child = spawn(binary, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    let stdout = '';
    child.stdout.on('data', (piece: Buffer) => {
      stdout += piece;
    });
    assert.deepEqual(await once(child, 'close'), [1, null]);
    assert.equal(JSON.parse(stdout).msg, 'standard input did not end in 100 ms');
  });

  test('standard input that cannot be read', async () => {
    const child = spawn('sh', ['-c', 'exec "$0" < /', binary], {
      env: { CNI_COMMAND: 'ADD' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let stdout = '';
    child.stdout.on('data', (piece: Buffer) => {
      stdout += piece;
    });
    assert.deepEqual(await once(child, 'close'), [1, null]);
    assert.equal(JSON.parse(stdout).msg, 'read standard input: Is a directory');
  });

  test('a name that is too long', async () => {
    assert.equal(
      await messageOf(call('/nowhere', { as: 'x'.repeat(256) })),
      '4 called under a name of 256 bytes; at most 255 fit',
    );
  });

  test('the path of a socket that is too long', async () => {
    const path = `/${'x'.repeat(107)}`;
    assert.equal(await messageOf(call(path)), '4 PLEXUS_SOCKET: expected a path of at most 107 bytes, found 108');
  });

  test('all else is told with care: what is not plain text is escaped', async () => {
    const path = '/nowhere/"\\\n\x1b\xe9';
    assert.equal(
      (await errorOf(call(path)))['msg'],
      `no Plexus daemon listens at ${Buffer.from(path).toString('latin1')}: No such file or directory`,
    );
  });
});
