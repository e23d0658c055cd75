import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeAnswer } from '../../src/daemon/frame.ts';
import { encodePrepared, type Prepared } from '../../src/daemon/spool/prepared.ts';
import { decodeRecord } from '../../src/daemon/spool/record.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { buildSteppingShim } from '../support/shim.ts';
import { smallDisk } from '../support/small-disk.ts';
import { notesOf, prepare, scriptPlugin } from './prepared.ts';
import { buildSanitized, callShim, fakeDaemon, type Printed } from './shim.ts';

/* An ADD while no daemon listens, where the administrator chose that pods go on with their default network. */

const timeout = 120_000;

let binary: string;
let steps: string;
let directory: TestDirectory;

before(async () => {
  directory = await testDirectory();
  binary = await buildSanitized(directory.path);
  steps = await buildSteppingShim();
});

after(() => directory[Symbol.asyncDispose]());

let count = 0;

async function places() {
  const at = join(directory.path, String(count++));
  await mkdir(at);
  return { at, socket: join(at, 'plexus.sock'), spool: join(at, 'state/spool') };
}

type Places = Awaited<ReturnType<typeof places>>;

interface Change {
  readonly as?: string;
  readonly command?: string;
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly shim?: string;
}

const runtimeConfig = { portMappings: [{ hostPort: 80 }], mac: '02:00:00:00:00:01', x: { 'a"}': '\\"{[' } };
const input = JSON.stringify({ cniVersion: '1.0.0', name: 'plexus', type: 'plexus', runtimeConfig });

function call({ socket, spool }: Pick<Places, 'socket' | 'spool'>, change: Change = {}): Promise<Printed> {
  const { as = 'plexus', command = 'ADD', stdin = input, env = {}, shim = binary } = change;
  const own = { PLEXUS_SOCKET: socket, PLEXUS_SPOOL: spool, PLEXUS_CONNECT_SECONDS: '0', PLEXUS_TIMEOUT_SECONDS: '20' };
  const cni = { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/runtime/bin' };
  const sanitizer = { ASAN_OPTIONS: 'detect_leaks=0', PATH: process.env['PATH'] ?? '/usr/bin:/bin' };
  return callShim({ binary: shim, as, env: { ...own, ...cni, ...sanitizer, ...env }, stdin });
}

async function messageOf(printing: Promise<Printed>): Promise<string> {
  const { status, stdout, stderr } = await printing;
  assert.deepEqual([status, stderr], [1, '']);
  const { code, msg } = JSON.parse(stdout.toString());
  return `${code} ${msg}`;
}

/** A chain of two: the first one answers `{"ips":1}`, the second one `{"ips":2}`, unless told what to do instead. */
async function chain(it: Places, first = 'echo \'{"ips":1}\'', second = 'echo \'{"ips":2}\'') {
  const plugins = [await scriptPlugin(it.at, 'first', first), await scriptPlugin(it.at, 'second', second)];
  await prepare(it.spool, [
    {
      path: plugins[0] ?? '',
      config: '{"cniVersion":"1.0.0","type":"first"}',
      capabilities: ['portMappings', 'x', 'no'],
    },
    { path: plugins[1] ?? '', config: '{"cniVersion":"1.0.0","type":"second"}', capabilities: ['mac'] },
  ]);
  return plugins;
}

const calls = async (plugin: string | undefined): Promise<string[]> =>
  (await notesOf(plugin ?? '')).map(({ command }) => command);

async function recordOf({ spool }: Pick<Places, 'spool'>) {
  const file = 'plexus:c1:eth0:add';
  const waiting = { file, command: 'ADD', plugin: 'plexus', containerId: 'c1', ifName: 'eth0' } as const;
  return decodeRecord(await readFile(join(spool, file)), waiting);
}

describe('an ADD without a daemon', { timeout }, () => {
  test('executes the chain with what was prepared and what the runtime gave, and is noted for the daemon', async () => {
    const it = await places();
    const [first, second] = await chain(it);
    assert.deepEqual(await call(it), { status: 0, stdout: Buffer.from('{"ips":2}\n'), stderr: '' });
    const path = '/prepared/bin:/runtime/bin';
    const { portMappings, mac, x } = runtimeConfig;
    assert.deepEqual(await notesOf(first ?? ''), [
      { command: 'ADD', path, config: { cniVersion: '1.0.0', type: 'first', runtimeConfig: { portMappings, x } } },
    ]);
    assert.deepEqual(await notesOf(second ?? ''), [
      {
        command: 'ADD',
        path,
        config: { cniVersion: '1.0.0', type: 'second', runtimeConfig: { mac }, prevResult: { ips: 1 } },
      },
    ]);
    const { request, network, result } = await recordOf(it);
    assert.deepEqual([request.name, request.stdin, request.env['CNI_COMMAND']], ['plexus', input, 'ADD']);
    assert.deepEqual(network, { config: '{"name":"main","type":"first"}', source: 'a test', defaultName: 'main' });
    assert.equal(result, '{"ips":2}');
    assert.equal((await stat(join(it.spool, 'plexus:c1:eth0:add'))).mode & 0o777, 0o600);
  });

  test('that fails is undone, says what the plugin said, and leaves nothing for the daemon', async () => {
    const it = await places();
    const error = '{"cniVersion":"1.0.0","code":7,"msg":"no"}';
    const [first, second] = await chain(it, undefined, `[ $command = DEL ] || { echo '${error}'; exit 1; }`);
    assert.deepEqual(await call(it), { status: 1, stdout: Buffer.from(`${error}\n`), stderr: '' });
    assert.deepEqual(
      [await calls(first), await calls(second)],
      [
        ['ADD', 'DEL'],
        ['ADD', 'DEL'],
      ],
    );
    assert.deepEqual((await notesOf(first ?? ''))[1]?.config, {
      cniVersion: '1.0.0',
      type: 'first',
      runtimeConfig: { portMappings: runtimeConfig.portMappings, x: runtimeConfig.x },
      prevResult: { ips: 1 },
    });
    assert.deepEqual(await readdir(it.spool), ['default-network']);
  });

  test('that fails and cannot be undone stays noted: the daemon releases it', async () => {
    const it = await places();
    await chain(it, "[ $command = ADD ] && echo '{}'", 'exit 3');
    assert.match(
      await messageOf(call(it)),
      /^999 the default network alone: \S+\/second ended with exit status 3 and no message$/,
    );
    assert.equal((await recordOf(it)).result, undefined);
  });

  for (const [name, body, message] of [
    ['prints nothing', 'true', /^999 .*\/first succeeded, and printed no result$/],
    ['prints what is no object', 'echo hello', /^999 .*\/first succeeded, and printed no result$/],
    ['is killed', 'kill -9 $$', /^999 .*\/first ended with signal 9 and no message$/],
    [
      'prints without end',
      'while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done',
      /^5 .* more than 1048576 bytes and was killed$/,
    ],
  ] as const) {
    test(`whose plugin ${name} is an error`, async () => {
      const it = await places();
      await chain(it, `[ $command = DEL ] && exit; ${body}`);
      assert.match(await messageOf(call(it)), message);
      assert.deepEqual(await readdir(it.spool), ['default-network']);
    });
  }

  test('whose plugin does not end is an error in time', async () => {
    const it = await places();
    await chain(it, '[ $command = DEL ] || sleep 1000');
    const env = { PLEXUS_TIMEOUT_SECONDS: '0.5' };
    assert.match(await messageOf(call(it, { env })), /^11 .*\/first did not finish in 500 ms and was killed$/);
    assert.deepEqual(await readdir(it.spool), ['default-network']);
  });

  test('whose plugin leaves a process behind that holds its output does not wait for that', async () => {
    const it = await places();
    const pid = join(it.at, 'pid');
    await chain(it, `sleep 1000 2> /dev/null & echo $! > ${pid}; echo '{}'`);
    try {
      assert.equal((await call(it)).status, 0);
    } finally {
      process.kill(Number(await readFile(pid, 'utf8')), 'SIGKILL');
    }
  });

  test('whose plugin cannot be executed is an error', async () => {
    const it = await places();
    const [first] = await chain(it);
    await chmod(first ?? '', 0o644);
    assert.match(await messageOf(call(it)), /^5 execute \S+\/first: Permission denied$/);
  });
});

describe('without a daemon a pod waits all the same', { timeout }, () => {
  const waits = /^11 no Plexus daemon listens at \S+: No such file or directory$/;
  const because = (why: string) =>
    new RegExp(`^11 no Plexus daemon .*; and the default network alone cannot be attached: ${why}$`);

  test('where nothing was prepared', async () => {
    const it = await places();
    assert.match(await messageOf(call(it)), waits);
    await mkdir(it.spool, { recursive: true, mode: 0o700 });
    assert.match(await messageOf(call(it)), waits);
    assert.deepEqual(await readdir(it.spool), []);
  });

  test('for other commands, and for plugins that are called alone', async () => {
    const it = await places();
    const [first] = await chain(it);
    for (const command of ['CHECK', 'STATUS', 'GC']) assert.match(await messageOf(call(it, { command })), waits);
    assert.match(await messageOf(call(it, { as: 'macvlan' })), waits);
    assert.deepEqual(await calls(first), []);
  });

  test('where there is a daemon that does not answer: it may have begun', async () => {
    const it = await places();
    const [first] = await chain(it);
    await using _ = await fakeDaemon(it.socket, encodeAnswer({ exitStatus: 0, stdout: '' }), (socket) =>
      socket.destroy(),
    );
    assert.match(await messageOf(call(it)), /^11 the Plexus daemon at \S+ hung up after 0 bytes of its answer$/);
    assert.deepEqual(await calls(first), []);
  });

  for (const [name, change, why] of [
    [
      'another version',
      { stdin: '{"cniVersion":"1.1.0"}' },
      'it was prepared for cniVersion 1.0.0, and the runtime asks for 1.1.0',
    ],
    ['a container ID of other characters', { env: { CNI_CONTAINERID: '../c1' } }, 'CNI_CONTAINERID is missing, or .*'],
  ] as const) {
    test(`for ${name}`, async () => {
      const it = await places();
      const [first] = await chain(it);
      assert.match(await messageOf(call(it, change)), because(why));
      assert.deepEqual(await calls(first), []);
    });
  }

  test('where the default network is not ready', async () => {
    const it = await places();
    const plugin = await scriptPlugin(it.at, 'first', "echo '{}'");
    const readinessFile = join(it.at, 'ready');
    await prepare(it.spool, [{ path: plugin, config: '{"type":"first"}', capabilities: [] }], { readinessFile });
    assert.match(await messageOf(call(it)), because('\\S+/ready: No such file or directory'));
    await writeFile(readinessFile, '');
    assert.equal((await call(it)).status, 0);
  });

  test('where anything of its sandbox waits, or the daemon has it', async () => {
    for (const earlier of ['spool/plexus:c1:eth0:0123456789abcdef', 'spool/plexus:c1:eth0:add', 'journal/c1:eth0']) {
      const it = await places();
      const [first] = await chain(it);
      await mkdir(join(it.at, 'state/journal'));
      await writeFile(join(it.at, 'state', earlier), '');
      const why = earlier.startsWith('spool') ? 'an earlier request .*' : 'the daemon has attached this sandbox before';
      assert.match(await messageOf(call(it)), because(why));
      assert.deepEqual(await calls(first), []);
      assert.equal((await call(it, { env: { CNI_CONTAINERID: 'c2' } })).status, 0);
    }
  });

  test('where what is prepared is not root alone', async () => {
    const it = await places();
    await chain(it);
    await chmod(join(it.spool, 'default-network'), 0o622);
    assert.match(await messageOf(call(it)), because("default-network is no file of the daemon's"));
  });

  test('where it cannot be noted: nothing is executed then', async () => {
    const it = await places();
    await using disk = await smallDisk();
    const spool = join(disk.path, 'spool');
    const plugin = await scriptPlugin(it.at, 'first', "echo '{}'");
    await prepare(spool, [{ path: plugin, config: '{"type":"first"}', capabilities: [] }]);
    await writeFile(join(disk.path, 'full'), Buffer.alloc(52 << 10));
    const stdin = JSON.stringify({ cniVersion: '1.0.0', x: 'y'.repeat(16 << 10) });
    assert.match(await messageOf(call({ ...it, spool }, { stdin })), because('write: No space left on device'));
    assert.deepEqual(await calls(plugin), []);
    assert.deepEqual(await readdir(spool), ['default-network']);
  });
});

test('a result for which the disk has no room is undone', { timeout }, async () => {
  const it = await places();
  await using disk = await smallDisk();
  const spool = join(disk.path, 'spool');
  const plugin = await scriptPlugin(it.at, 'first', `printf '{"x":"%040000d"}' 0`);
  await prepare(spool, [{ path: plugin, config: '{"type":"first"}', capabilities: [] }]);
  await writeFile(join(disk.path, 'full'), Buffer.alloc(28 << 10));
  assert.match(
    await messageOf(call({ ...it, spool })),
    /^11 the default network alone: note the result: No space left/,
  );
  assert.deepEqual(await calls(plugin), ['ADD', 'DEL']);
  assert.deepEqual(await readdir(spool), ['default-network']);
});

test('a shim that is killed at any step has noted whatever it may have made', { timeout }, async (t) => {
  for (const outcome of ['succeeds', 'fails'] as const) {
    for (let step = 1; ; step++) {
      const it = await places();
      const fails = outcome === 'fails' ? '[ $command = DEL ] || exit 1' : "echo '{}'";
      const [first] = await chain(it, undefined, fails);
      const { status } = await call(it, { shim: steps, env: { PLEXUS_KILL_AT_STEP: String(step) } });
      const commands = await calls(first);
      const isHeld = commands.at(-1) === 'ADD';
      const record = await recordOf(it).catch(() => undefined);
      if (isHeld) assert.ok(record, `${outcome}, step ${step}: ${commands}`);
      if (record?.result !== undefined) assert.equal(outcome, 'succeeds');
      if (status !== 'SIGKILL') {
        assert.equal(status, outcome === 'succeeds' ? 0 : 1);
        assert.ok(step > 8, `${step} steps`);
        t.diagnostic(`${outcome}: killed at ${step - 1} steps`);
        break;
      }
      assert.ok(record?.result === undefined || outcome === 'succeeds');
    }
  }
});

test('the plugin of a shim that is killed ends with it', { timeout }, async () => {
  const it = await places();
  const pidFile = join(it.at, 'pid');
  const [first] = await chain(it, `echo $$ > ${pidFile}.new; mv ${pidFile}.new ${pidFile}; exec sleep 1000`);
  assert.ok(first);
  const env = {
    PLEXUS_SOCKET: it.socket,
    PLEXUS_SPOOL: it.spool,
    PLEXUS_CONNECT_SECONDS: '0',
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c1',
    CNI_IFNAME: 'eth0',
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
  };
  const shim = spawn(steps, [], { argv0: 'plexus', env, stdio: ['pipe', 'ignore', 'inherit'] });
  shim.stdin.end(input);
  const exists = (path: string): Promise<boolean> =>
    access(path).then(
      () => true,
      () => false,
    );
  while (!(await exists(pidFile))) await new Promise((resolve) => setTimeout(resolve, 5));
  const pid = Number(await readFile(pidFile, 'utf8'));
  shim.kill('SIGKILL');
  await once(shim, 'exit');
  // Ended, it may wait for somebody to take note of it.
  const isAlive = async (): Promise<boolean> => {
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
    return state !== undefined && !/^\d+ \(.*\) [ZX]/s.test(state);
  };
  while (await isAlive()) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('a prepared file that nobody writes is an error or nothing worse', { timeout }, async () => {
  const it = await places();
  await mkdir(it.spool, { recursive: true, mode: 0o700 });
  const plugin = await scriptPlugin(it.at, 'first', "echo '{}'");
  const bytes = fc.string({ unit: 'binary', maxLength: 40 });
  const prepared = fc.record({
    cniVersion: fc.constantFrom('1.0.0', ''),
    readinessFile: fc.constantFrom('', '/nowhere/ready'),
    directories: fc.array(bytes, { maxLength: 3 }),
    network: fc.constant({ config: '{}', source: '', defaultName: '' }),
    hasPrevResult: fc.boolean(),
    plugins: fc.array(
      fc.record({
        path: fc.oneof(fc.constant(plugin), bytes),
        config: fc.constantFrom('{"type":"first"}', '{}', ''),
        capabilities: fc.array(bytes, { maxLength: 4 }),
      }),
      { maxLength: 4 },
    ),
  });
  const whole = prepared.map((each: Prepared) => encodePrepared(each));
  const mutilated = fc
    .tuple(whole, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 4 }), fc.nat())
    .map(([file, changes, cut]) => {
      const copy = Buffer.from(file);
      for (const [at, value] of changes) copy.writeUInt8(value, at % copy.length);
      return cut % 3 === 0 ? copy.subarray(0, cut % copy.length) : copy;
    });
  const random = fc.uint8Array({ maxLength: 200 }).map((each) => Buffer.from(each));
  const stdin = fc.oneof(
    fc.constant(input),
    fc.json().map((json) => `{"cniVersion":"1.0.0","runtimeConfig":${json}}`),
    fc.string({ maxLength: 60 }).map((junk) => `{"cniVersion":"1.0.0","runtimeConfig":{"a":${junk}`),
  );
  let id = 0;
  await fc.assert(
    fc.asyncProperty(fc.oneof(whole, mutilated, random), stdin, async (file, text) => {
      await writeFile(join(it.spool, 'default-network'), file, { mode: 0o600 });
      const env = { CNI_CONTAINERID: `c${id++}`, PLEXUS_TIMEOUT_SECONDS: '5' };
      const { status, stdout, stderr } = await call(it, { stdin: text, env });
      assert.doesNotMatch(stderr, /Sanitizer|runtime error/);
      assert.ok(status === 0 || status === 1, `${status} ${stderr}`);
      assert.ok(JSON.parse(stdout.toString()));
    }),
    { numRuns: 150 },
  );
});
