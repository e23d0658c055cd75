import assert from 'node:assert/strict';
import { chmod, link, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { decodeAnswer, encodeRequest } from '../../src/daemon/client.ts';
import type { Answer, Request } from '../../src/daemon/frame.ts';
import { CallServer, type Limits } from '../../src/daemon/server.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog, type LogLine } from './log.ts';
import { exchange, received } from './wire.ts';

const call: Request = { name: 'plexus', env: { CNI_COMMAND: 'VERSION' }, stdin: '{}' };
const timeout = 20_000;

interface Running extends AsyncDisposable {
  readonly server: CallServer;
  readonly path: string;
  readonly lines: readonly LogLine[];
}

async function start(answer: (request: Request) => Promise<Answer>, limits: Partial<Limits> = {}): Promise<Running> {
  const directory = await testDirectory();
  const path = join(directory.path, 'run', 'plexus.sock');
  const { log, lines } = keptLog();
  const server = await CallServer.listen({ path, answer, log, limits });
  return {
    server,
    path,
    lines,
    async [Symbol.asyncDispose]() {
      await server.close(0);
      await directory[Symbol.asyncDispose]();
    },
  };
}

const echo = async (request: Request): Promise<Answer> => ({ exitStatus: 3, stdout: JSON.stringify(request) });

/** What a connection that was refused is told. */
async function refusal(answered: Promise<Buffer>): Promise<string> {
  const { exitStatus, stdout } = decodeAnswer(await answered);
  assert.equal(exitStatus, 1);
  const { code, msg } = JSON.parse(stdout);
  return `${code} ${msg}`;
}

describe('a call', { timeout }, () => {
  test('is answered, and the connection closed', async () => {
    await using running = await start(echo);
    const { exitStatus, stdout } = decodeAnswer(await exchange(running.path, encodeRequest(call)));
    assert.equal(exitStatus, 3);
    assert.deepEqual(JSON.parse(stdout), call);
  });

  test('is answered as well where the caller has closed its half', async () => {
    await using running = await start(async (request) => {
      await sleep(5);
      return echo(request);
    });
    assert.equal(decodeAnswer(await exchange(running.path, encodeRequest(call), true)).exitStatus, 3);
  });

  test('whose caller goes away meanwhile harms nobody', async () => {
    const { promise: came, resolve: come } = Promise.withResolvers<void>();
    const { promise: gone, resolve: go } = Promise.withResolvers<void>();
    await using running = await start(async (request) => {
      come();
      await gone;
      return echo(request);
    });
    const caller = connect(running.path);
    caller.write(encodeRequest(call));
    await came;
    caller.destroy();
    go();
    assert.equal(decodeAnswer(await exchange(running.path, encodeRequest(call))).exitStatus, 3);
  });

  test('of another user is refused', async () => {
    await using running = await start(echo);
    for (const directory of [join(running.path, '../..'), join(running.path, '..')]) await chmod(directory, 0o755);
    await chmod(running.path, 0o666);
    // The kernel notes who connects at that moment.
    process.seteuid?.(65534);
    const stranger = connect(running.path);
    process.seteuid?.(0);
    const refused = refusal(received(stranger));
    assert.equal(await refused, `5 process ${process.pid} of user 65534 called: the Plexus daemon answers root alone`);
    assert.equal(running.lines[0]?.['msg'], (await refused).slice(2));
  });

  test('that does not come to its end in time is refused', async () => {
    await using running = await start(echo, { requestMs: 1 });
    assert.equal(await refusal(received(connect(running.path))), '5 the request did not arrive in 1 ms');
    const half = exchange(running.path, encodeRequest(call).subarray(0, 20));
    assert.equal(await refusal(half), '5 the request did not arrive in 1 ms');
  });

  test('that ends too early is refused', async () => {
    await using running = await start(echo);
    const half = exchange(running.path, encodeRequest(call).subarray(0, 20), true);
    assert.equal(await refusal(half), '5 the request ended before all of it had arrived');
  });

  test('beyond the number that is allowed at a time is refused, and to be repeated', async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    await using running = await start(
      async (request) => {
        await gate;
        return echo(request);
      },
      { connections: 2 },
    );
    const accepted = [1, 2].map(() => exchange(running.path, encodeRequest(call)));
    // Connections are accepted in their order.
    assert.equal(await refusal(exchange(running.path, encodeRequest(call))), '11 more than 2 calls at a time');
    open();
    for (const answer of await Promise.all(accepted)) assert.equal(decodeAnswer(answer).exitStatus, 3);
  });

  test('whose answer is too long fails, and says so', async () => {
    await using running = await start(async () => ({ exitStatus: 0, stdout: 'x'.repeat(16 << 20) }));
    const refused = await refusal(exchange(running.path, encodeRequest(call)));
    assert.match(refused, /^5 the answer has 16777225 bytes/);
  });

  test('whose answer nobody reads does not last', async () => {
    const { promise: came, resolve: come } = Promise.withResolvers<void>();
    const answer = async (): Promise<Answer> => {
      come();
      return { exitStatus: 0, stdout: 'x'.repeat(8 << 20) };
    };
    await using running = await start(answer, { answerMs: 1 });
    const caller = connect(running.path).pause();
    caller.write(encodeRequest(call));
    await came;
    assert.equal(await running.server.close(10_000), 0);
    caller.destroy();
  });

  test('of random bytes does not keep others from being answered', async () => {
    await using running = await start(echo, { requestMs: 20 });
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.concat([encodeRequest(call).subarray(0, 8), bytes])),
      fc.nat({ max: 60 }).map((length) => encodeRequest(call).subarray(0, length)),
      fc.constant(Buffer.concat([Buffer.from('PLX1\xff\xff\xff\x00', 'latin1'), Buffer.alloc(1 << 20)])),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(hostile, fc.boolean()), { minLength: 1, maxLength: 10 }), async (attacks) => {
        const answers = attacks.map(([bytes, end]) => exchange(running.path, bytes, end));
        for (const answer of await Promise.all(answers)) if (answer.length > 0) decodeAnswer(answer);
        assert.equal(decodeAnswer(await exchange(running.path, encodeRequest(call))).exitStatus, 3);
      }),
      { numRuns: 60 },
    );
  });
});

describe('a server that ends', { timeout }, () => {
  test('finishes the calls under way, takes no more, and removes its socket', async () => {
    const { promise: came, resolve: come } = Promise.withResolvers<void>();
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    await using running = await start(async (request) => {
      come();
      await gate;
      return echo(request);
    });
    const idle = received(connect(running.path));
    const answer = exchange(running.path, encodeRequest(call));
    await came;
    const closed = running.server.close(10_000);
    assert.equal((await idle).length, 0);
    await assert.rejects(stat(running.path), { code: 'ENOENT' });
    assert.equal((await exchange(running.path, encodeRequest(call))).length, 0);
    open();
    assert.equal(decodeAnswer(await answer).exitStatus, 3);
    assert.equal(await closed, 0);
  });

  test('does not wait for ever', async () => {
    const { promise: came, resolve: come } = Promise.withResolvers<void>();
    await using running = await start(() => {
      come();
      return new Promise(() => undefined);
    });
    const answer = exchange(running.path, encodeRequest(call));
    await came;
    assert.equal(await running.server.close(1), 1);
    assert.equal((await answer).length, 0);
  });
});

describe('the socket', { timeout }, () => {
  const listen = (path: string): Promise<CallServer> => CallServer.listen({ path, answer: echo, log: keptLog().log });

  test('is in a directory that only root enters', async () => {
    await using running = await start(echo);
    assert.equal((await stat(join(running.path, '..'))).mode & 0o777, 0o700);
    assert.equal((await stat(running.path)).mode & 0o777, 0o600);
  });

  test('of a daemon that lives is left to it', async () => {
    await using running = await start(echo);
    await assert.rejects(listen(running.path), {
      message: `${running.path} is in use by process ${process.pid}, another Plexus daemon`,
    });
    assert.equal(decodeAnswer(await exchange(running.path, encodeRequest(call))).exitStatus, 3);
  });

  test('of a daemon that lives is left to it although its lock was removed', async () => {
    await using running = await start(echo);
    await rm(join(running.path, '../plexus.lock'));
    await assert.rejects(listen(running.path), { message: `${running.path} is in use by process ${process.pid}` });
  });

  test('of a daemon that died is replaced', async () => {
    await using directory = await testDirectory();
    const path = join(directory.path, 'plexus.sock');
    await leaveSocket(path);
    const server = await listen(path);
    assert.equal(decodeAnswer(await exchange(path, encodeRequest(call))).exitStatus, 3);
    await server.close(0);
  });

  test('does not replace what is no socket', async () => {
    await using directory = await testDirectory();
    const path = join(directory.path, 'plexus.sock');
    await writeFile(path, 'mine');
    await assert.rejects(listen(path), { message: `${path} is in the way: expected a socket or nothing` });
  });

  test('keeps the mode of a directory with other things in it, and is not made where others can write', async () => {
    await using directory = await testDirectory();
    await writeFile(join(directory.path, 'other'), '');
    await chmod(directory.path, 0o755);
    const server = await listen(join(directory.path, 'plexus.sock'));
    assert.equal((await stat(directory.path)).mode & 0o777, 0o755);
    await server.close(0);
    await chmod(directory.path, 0o1777);
    await assert.rejects(listen(join(directory.path, 'plexus.sock')), {
      message:
        `socketDir: ${directory.path} belongs to user 0 and has mode 1777, so that others could put a socket of their ` +
        'own there; choose a directory that only root can write',
    });
  });

  test('has a path that the kernel takes', async () => {
    await using directory = await testDirectory();
    const path = join(directory.path, 'x'.repeat(100), 'plexus.sock');
    await mkdir(join(path, '..'));
    await assert.rejects(listen(path), { message: /^socketDir: .* has \d+ bytes, a socket's path at most 107$/ });
  });
});

/** A socket that nobody listens on: what is left of a process that was killed. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.first`, resolve));
  await link(`${path}.first`, path);
  await new Promise((resolve) => server.close(resolve));
}
