import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { stringify } from 'yaml';
import { Access } from '../../src/kubernetes/access.ts';
import { Client } from '../../src/kubernetes/client.ts';
import type { Connection } from '../../src/kubernetes/kubeconfig.ts';
import { type Api, startApi } from '../../src/playground/api/server.ts';
import { type Authority, authority } from '../support/authority.ts';
import { testDirectory } from '../support/directory.ts';

const options = { timeout: 30_000 };

interface SecureApi extends AsyncDisposable {
  readonly api: Api;
  readonly authority: Authority;
  readonly directory: string;
  readonly port: number;
  /** The names of those who came with a certificate of the authority; `nobody` for those without. */
  readonly clients: string[];
}

/** An embedded API behind TLS, with a certificate for 127.0.0.1 and for `cluster.test`. */
async function secureApi(): Promise<SecureApi> {
  const directory = await testDirectory();
  const own = await authority(directory.path);
  const { key, cert } = await own.issue('server', 'IP:127.0.0.1,DNS:cluster.test');
  const api = await startApi();
  const clients: string[] = [];
  const server = tls.createServer({ key, cert, ca: own.ca, requestCert: true, rejectUnauthorized: false }, (socket) => {
    clients.push(socket.authorized ? String(socket.getPeerCertificate().subject.CN) : 'nobody');
    api.serve(socket);
  });
  server.on('tlsClientError', () => {});
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const address: AddressInfo | string | null = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return {
    api,
    authority: own,
    directory: directory.path,
    port: address.port,
    clients,
    async [Symbol.asyncDispose]() {
      await api.close();
      await new Promise((closed) => server.close(closed));
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** From now on only requests with this token are answered. */
function requireToken(api: Api, token: string): void {
  api.clearFaults();
  const match = (_method: string, _path: string, headers: { readonly authorization?: string | undefined }) =>
    headers.authorization !== `Bearer ${token}`;
  api.fault({ match, times: Number.POSITIVE_INFINITY, fail: 'Unauthorized' });
}

function clientOf(access: Access, t: TestContext): Client {
  const client = new Client(access);
  t.after(() => client[Symbol.dispose]());
  return client;
}

const list = { path: '/api/v1/pods' };

test('a service account: its authority is trusted, and its token may be replaced', options, async (t) => {
  await using running = await secureApi();
  const { api, directory, port } = running;
  const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) };
  await writeFile(join(directory, 'token'), 'first\n');
  requireToken(api, 'first');
  const client = clientOf(Access.inCluster(environment, directory), t);
  await client.request(list);

  await writeFile(join(directory, 'token'), 'second\n');
  requireToken(api, 'second');
  await client.request(list);
});

test('a refused token is an error, once it was read anew', options, async (t) => {
  await using running = await secureApi();
  const { api, directory, port } = running;
  const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(port) };
  await writeFile(join(directory, 'token'), 'wrong');
  requireToken(api, 'right');
  const client = clientOf(Access.inCluster(environment, directory), t);
  await assert.rejects(client.request(list), { status: 401, reason: 'Unauthorized' });
  await writeFile(join(directory, 'token'), '');
  await assert.rejects(
    client.request(list),
    new RegExp(`service account in ${directory}: ${directory}/token: expected a token, found nothing`),
  );
});

test('a service account whose server is IPv6', options, async () => {
  await using running = await secureApi();
  await writeFile(join(running.directory, 'token'), 'x');
  const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
  const { server } = await Access.inCluster(environment, running.directory).connection();
  assert.equal(server.href, 'https://[fd00::1]/');
});

test('outside of a pod there is no service account, and the message says what to do', async () => {
  await assert.rejects(
    Access.inCluster({}, '/nonexistent').connection(),
    /no kubeconfig was given, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set/,
  );
});

for (const { what, cluster, message } of [
  { what: 'no authority', cluster: {}, message: /unable to verify|self-signed/ },
  { what: 'a name that is not in it', cluster: { 'tls-server-name': 'other.test' }, message: /other\.test/ },
]) {
  test(`a server's certificate is refused for ${what}`, options, async (t) => {
    await using running = await secureApi();
    const file = join(running.directory, 'kubeconfig');
    const trusted = what === 'no authority' ? {} : { 'certificate-authority': 'ca.crt' };
    await writeFile(file, kubeconfig({ server: `https://127.0.0.1:${running.port}`, ...trusted, ...cluster }, {}));
    await assert.rejects(clientOf(Access.kubeconfig(file), t).request(list), message);
    assert.deepEqual(running.clients, []);
  });
}

test(
  "a server's certificate is accepted for the name that the kubeconfig gives, or unseen where it says so",
  options,
  async (t) => {
    await using running = await secureApi();
    const file = join(running.directory, 'kubeconfig');
    const server = `https://127.0.0.1:${running.port}`;
    await writeFile(
      file,
      kubeconfig({ server, 'certificate-authority': 'ca.crt', 'tls-server-name': 'cluster.test' }, {}),
    );
    await clientOf(Access.kubeconfig(file), t).request(list);
    await writeFile(file, kubeconfig({ server, 'insecure-skip-tls-verify': true }, {}));
    await clientOf(Access.kubeconfig(file), t).request(list);
  },
);

test('certificates that only look like some are an error as any other, of the request', options, async (t) => {
  await using running = await secureApi();
  const file = join(running.directory, 'kubeconfig');
  const fake = base64('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  const server = `https://127.0.0.1:${running.port}`;
  await writeFile(
    file,
    kubeconfig(
      { server, 'certificate-authority': 'ca.crt' },
      { 'client-certificate-data': fake, 'client-key-data': fake },
    ),
  );
  await assert.rejects(clientOf(Access.kubeconfig(file), t).request(list), {
    name: 'ApiError',
    message: new RegExp(`^GET /api/v1/pods of ${server}: `),
  });
});

test('a client certificate goes with the connection, and a newer one with a new connection', options, async (t) => {
  await using running = await secureApi();
  const { api, directory, clients } = running;
  const file = join(directory, 'kubeconfig');
  const cluster = { server: `https://127.0.0.1:${running.port}`, 'certificate-authority': 'ca.crt' };
  const first = await running.authority.issue('first', 'DNS:first');
  const second = await running.authority.issue('second', 'DNS:second');
  await writeFile(
    file,
    kubeconfig(cluster, { 'client-certificate': first.certFile, 'client-key-data': base64(first.key) }),
  );
  const client = clientOf(Access.kubeconfig(file), t);
  await client.request(list);
  await client.request(list);
  assert.deepEqual(clients, ['first']);

  await writeFile(
    file,
    kubeconfig(cluster, { 'client-certificate-data': base64(second.cert), 'client-key': second.keyFile }),
  );
  api.fault({ fail: 'Unauthorized' });
  await client.request(list);
  assert.deepEqual(clients, ['first', 'second']);
});

test('what cannot be read for a moment is used as it was, until it is refused', options, async () => {
  let readable = true;
  const one: Connection = { server: new URL('http://127.0.0.1:1'), tls: {}, headers: {} };
  const load = () => (readable ? Promise.resolve(one) : Promise.reject(new Error('in the midst of a write')));
  const access = new Access({ origin: 'test', load, freshFor: 0 });
  assert.equal(await access.connection(), one);
  readable = false;
  assert.equal(await access.connection(), one);
  access.expire(one);
  await assert.rejects(access.connection(), /in the midst of a write/);
  readable = true;
  assert.equal(await access.connection(), one);
});

test('many requests at once read the credentials once, and one that comes late does not discard newer ones', async () => {
  let loads = 0;
  const forgotten: number[] = [];
  const load = () => {
    const connection: Connection = { server: new URL(`http://127.0.0.1:${++loads}`), tls: {}, headers: {} };
    return Promise.resolve(connection);
  };
  const access = new Access({ origin: 'test', load, forget: () => forgotten.push(loads) });
  const [first] = await Promise.all([access.connection(), access.connection()]);
  assert.equal(loads, 1);
  access.expire(first);
  const second = await access.connection();
  access.expire(first);
  assert.equal(await access.connection(), second);
  assert.deepEqual(forgotten, [1]);
});

test('a kubeconfig that comes to be while we wait for it is read then', options, async (t) => {
  await using directory = await testDirectory();
  await using api = await startApi();
  const file = join(directory.path, 'kubeconfig');
  const client = clientOf(Access.kubeconfig(file), t);
  await assert.rejects(client.request(list), new RegExp(`kubeconfig ${file}: ENOENT`));
  await writeFile(file, api.kubeconfig());
  await client.request(list);
  await rm(file);
  await client.request(list);
});

function kubeconfig(cluster: object, user: object): string {
  return stringify({
    clusters: [{ name: 'c', cluster }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    users: [{ name: 'u', user }],
    'current-context': 'x',
  });
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
