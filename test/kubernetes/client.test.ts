import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { Access } from '../../src/kubernetes/access.ts';
import { Client, segment } from '../../src/kubernetes/client.ts';
import { ApiError, isNotFound, isTransient } from '../../src/kubernetes/error.ts';
import { pod } from '../playground-api/manifests.ts';
import { onEachServer } from './server.ts';

const options = { timeout: 60_000 };

/** What a request failed with. */
async function failureOf(request: Promise<unknown>): Promise<ApiError> {
  try {
    await request;
  } catch (error) {
    assert.ok(error instanceof ApiError, String(error));
    return error;
  }
  return assert.fail('the request succeeded');
}

/** A server that answers as a test wants, and a client of it. */
async function serverWithClient(listener: RequestListener, path = '') {
  const server = createServer(listener);
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const address: AddressInfo | string | null = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const url = new URL(`http://127.0.0.1:${address.port}${path}`);
  const client = new Client(
    new Access({ origin: 'test', load: () => Promise.resolve({ server: url, tls: {}, headers: { 'x-own': 'yes' } }) }),
  );
  return {
    client,
    url,
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

await onEachServer((server) => {
  test('an object is read, and a request carries what it is told to', options, async () => {
    await using running = await server.start([pod('a')]);
    const read = await running.client.request({
      path: '/api/v1/namespaces/default/pods/a',
      query: { pretty: undefined },
    });
    assert.ok(typeof read === 'object' && read !== null && 'kind' in read);
    assert.equal(read.kind, 'Pod');
  });

  test('a Status object becomes an error that names the operation, the server and the reason', options, async () => {
    await using running = await server.start();
    const { proxy, client } = running;
    const error = await failureOf(client.request({ path: '/api/v1/namespaces/default/pods/a' }));
    assert.equal(
      error.message,
      `GET /api/v1/namespaces/default/pods/a of ${proxy.url}: 404 NotFound: pods "a" not found`,
    );
    assert.ok(isNotFound(error));
    assert.ok(!isTransient(error));
  });

  test('what the server asks to wait is known in milliseconds, and overload is transient', options, async () => {
    await using running = await server.start();
    running.proxy.fault({ fail: 'TooManyRequests', retryAfterSeconds: 7 });
    const error = await failureOf(running.client.request({ path: '/api/v1/pods' }));
    assert.equal(error.status, 429);
    assert.equal(error.retryAfter, 7_000);
    assert.ok(isTransient(error));
  });

  test('an answer that is not JSON is an error, not a crash', options, async () => {
    await using running = await server.start();
    running.proxy.fault({ body: '<html>' });
    const error = await failureOf(running.client.request({ path: '/api/v1/pods' }));
    assert.match(error.message, /^GET \/api\/v1\/pods of http:\S+: .*not valid JSON/);
  });

  test('a server that does not answer is given up in time, and that is transient', options, async () => {
    await using running = await server.start();
    running.proxy.fault({ hang: true });
    const error = await failureOf(running.client.request({ path: '/api/v1/pods', timeout: 30 }));
    assert.match(error.message, /timeout/);
    assert.equal(error.status, undefined);
    assert.ok(isTransient(error));
  });

  test('a request ends when it is aborted, with the reason', options, async () => {
    await using running = await server.start();
    const stop = new AbortController();
    running.proxy.fault({ hang: true, met: () => stop.abort(new Error('enough')) });
    const error = await failureOf(running.client.request({ path: '/api/v1/pods', signal: stop.signal }));
    assert.match(error.message, /: enough$/);
  });

  test('a connection that breaks is transient', options, async () => {
    await using running = await server.start();
    running.proxy.fault({ reset: true });
    assert.ok(isTransient(await failureOf(running.client.request({ path: '/api/v1/pods' }))));
  });

  test('a server that is not there is transient, and named', options, async () => {
    await using running = await server.start();
    await running.proxy.close();
    const error = await failureOf(running.client.request({ path: '/api/v1/pods' }));
    assert.ok(isTransient(error));
    assert.ok(error.message.includes('ECONNREFUSED'), error.message);
    assert.ok(error.message.includes(running.proxy.url), error.message);
  });
});

test("a server's URL may have a path, and the headers of the connection go with each request", options, async () => {
  await using running = await serverWithClient((request, response) => {
    response.end(JSON.stringify([request.method, request.url, request.headers['x-own'], request.headers.accept]));
  }, '/behind/a/proxy/');
  const answer = await running.client.request({ path: '/api/v1/pods', query: { limit: '5', continue: 'a/b&c' } });
  assert.deepEqual(answer, [
    'GET',
    '/behind/a/proxy/api/v1/pods?limit=5&continue=a%2Fb%26c',
    'yes',
    'application/json',
  ]);
});

test('a Retry-After header counts where no Status object comes', options, async () => {
  await using running = await serverWithClient((_request, response) => {
    response.writeHead(503, { 'retry-after': '3' }).end('<html>');
  });
  const error = await failureOf(running.client.request({ path: '/x' }));
  assert.equal(error.message, `GET /x of ${running.url.origin}: HTTP status 503`);
  assert.equal(error.retryAfter, 3_000);
});

test('a body that never ends is given up in time as well', options, async () => {
  await using running = await serverWithClient((_request, response) => {
    response.writeHead(200).write('{');
  });
  const error = await failureOf(running.client.request({ path: '/x', timeout: 30 }));
  assert.match(error.message, /timeout/);
});

test(
  'a kept connection that the server closes under a request costs nothing but another connection',
  options,
  async () => {
    const seen = new Map<Socket, number>();
    await using running = await serverWithClient((request, response) => {
      const requests = (seen.get(request.socket) ?? 0) + 1;
      seen.set(request.socket, requests);
      if (requests > 1) request.socket.destroy();
      else response.end('{}');
    });
    await running.client.request({ path: '/first' });
    await running.client.request({ path: '/second' });
    assert.deepEqual([...seen.values()], [2, 1]);
  },
);

test('a stream gives lines as they come, and leaving it closes its connection', options, async () => {
  const closed = Promise.withResolvers<void>();
  await using running = await serverWithClient((request, response) => {
    request.socket.once('close', () => closed.resolve());
    response.write('{"a":1}\n{"b"');
    response.write(':2}\n');
  });
  const opened: string[] = [];
  const lines = running.client.stream(
    { path: '/x', signal: AbortSignal.any([]), timeout: 10_000, silence: 10_000, lifetime: 10_000 },
    () => opened.push('opened'),
  );
  const read: string[] = [];
  for await (const line of lines) {
    read.push(line);
    if (read.length === 2) break;
  }
  assert.deepEqual(read, ['{"a":1}', '{"b":2}']);
  assert.deepEqual(opened, ['opened']);
  await closed.promise;
});

for (const { what, limits, message } of [
  { what: 'falls silent', limits: { silence: 30 }, message: /the connection was silent/ },
  { what: 'lives too long', limits: { lifetime: 30 }, message: /it lived longer than asked for/ },
]) {
  test(`a stream that ${what} is given up`, options, async () => {
    await using running = await serverWithClient((_request, response) => {
      response.write('{}\n');
    });
    const request = { path: '/x', signal: AbortSignal.any([]), timeout: 10_000, silence: 10_000, lifetime: 10_000 };
    const read = Array.fromAsync(running.client.stream({ ...request, ...limits }, () => {}));
    assert.match((await failureOf(read)).message, message);
  });
}

test('names that cannot be of Kubernetes never become part of a path', () => {
  assert.equal(segment('pod', 'a.b-c'), 'a.b-c');
  for (const name of ['', '..', '.', 'a/b', 'A', '-a', 'a-', 'a%2fb', 'a?b', 'a b', 'a'.repeat(254)]) {
    assert.throws(() => segment('pod', name), isNotFound, name);
  }
});
