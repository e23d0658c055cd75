import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Counter, Registry } from 'prom-client';
import { serveHealth } from '../../src/daemon/http.ts';
import { received } from './wire.ts';

/** @returns The port, and what keeps pods from being attached, to be changed. */
async function start(t: TestContext): Promise<{ readonly port: number; readonly problems: string[] }> {
  const registry = new Registry();
  new Counter({ name: 'things_total', help: 'Things.', registers: [registry] }).inc();
  const problems: string[] = [];
  const server = await serveHealth({ registry, problems: () => problems, port: 0, address: '127.0.0.1' });
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  assert.equal(address.address, '127.0.0.1');
  return { port: address.port, problems };
}

async function ask(port: number, path: string, method = 'GET'): Promise<readonly [number, string]> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
  return [response.status, await response.text()];
}

test('/healthz says that the process lives, /readyz what keeps pods from being attached', async (t) => {
  const { port, problems } = await start(t);
  assert.deepEqual(await ask(port, '/healthz'), [200, 'ok\n']);
  assert.deepEqual(await ask(port, '/readyz?verbose'), [200, 'ok\n']);
  problems.push('watch of pods: no route to host', 'watch of networks: not listed yet');
  assert.deepEqual(await ask(port, '/healthz'), [200, 'ok\n']);
  assert.deepEqual(await ask(port, '/readyz'), [
    503,
    'watch of pods: no route to host\nwatch of networks: not listed yet\n',
  ]);
});

test('/metrics is what Prometheus reads', async (t) => {
  const { port } = await start(t);
  assert.deepEqual(await ask(port, '/metrics'), [
    200,
    '# HELP things_total Things.\n# TYPE things_total counter\nthings_total 1\n',
  ]);
  assert.deepEqual(await ask(port, '/metrics', 'HEAD'), [200, '']);
});

test('nothing else is served, and nothing is changed', async (t) => {
  const { port } = await start(t);
  assert.equal((await ask(port, '/'))[0], 404);
  assert.equal((await ask(port, '/metrics', 'POST'))[0], 405);
});

test('requests that are none harm nobody', async (t) => {
  const { port } = await start(t);
  for (const line of ['GET // HTTP/1.1', 'GET http://[ HTTP/1.1', 'GET %zz HTTP/1.1', 'nonsense', '']) {
    const socket = connect(port, '127.0.0.1');
    socket.end(`${line}\r\nHost: x\r\nConnection: close\r\n\r\n`);
    await received(socket);
  }
  assert.deepEqual(await ask(port, '/healthz'), [200, 'ok\n']);
});

test('metricsAddress is the only place where it is served', async (t) => {
  const own = await serveHealth({ registry: new Registry(), problems: () => [], port: 0, address: '127.0.0.2' });
  t.after(() => own.close());
  const address = own.address();
  assert.ok(typeof address === 'object' && address !== null);
  assert.equal((await fetch(`http://127.0.0.2:${address.port}/healthz`)).status, 200);
  const taken = serveHealth({
    registry: new Registry(),
    problems: () => [],
    port: address.port,
    address: '127.0.0.2',
  });
  await assert.rejects(taken, {
    message: /^metricsPort: cannot serve \/metrics on 127\.0\.0\.2:\d+: listen EADDRINUSE/,
  });
});
