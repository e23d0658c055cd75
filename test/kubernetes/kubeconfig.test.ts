import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { ExecCredentials } from '../../src/kubernetes/exec-credentials.ts';
import { connectionOf } from '../../src/kubernetes/kubeconfig.ts';
import { testDirectory } from '../support/directory.ts';

const server = 'https://10.0.0.1:6443';
const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
const key = '-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

interface Parts {
  readonly cluster?: object;
  readonly user?: object;
  readonly more?: object;
}

function kubeconfig({ cluster = {}, user = {}, more = {} }: Parts): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    preferences: {},
    clusters: [{ name: 'c', cluster: { server, ...cluster } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'default' } }],
    users: [{ name: 'u', user }],
    'current-context': 'x',
    ...more,
  });
}

/** What a kubeconfig with these files beside it leads to. */
async function read(text: string, files: Readonly<Record<string, string>> = {}) {
  await using directory = await testDirectory();
  const file = join(directory.path, 'kubeconfig');
  await mkdir(join(directory.path, 'pki'));
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory.path, name), content);
  await writeFile(file, text);
  try {
    return await connectionOf(file, new ExecCredentials());
  } catch (error) {
    assert.ok(error instanceof Error);
    // The directory has another name each time.
    throw new Error(error.message.replaceAll(directory.path, '/d'));
  }
}

const understood: ReadonlyArray<{
  readonly what: string;
  readonly parts: Parts;
  readonly files?: Readonly<Record<string, string>>;
  readonly tls?: object;
  readonly authorization?: string;
}> = [
  { what: 'nothing but a server', parts: {} },
  { what: 'a token', parts: { user: { token: 'abc' } }, authorization: 'Bearer abc' },
  {
    what: 'a token in a file, which is newer than one beside it',
    parts: { user: { token: 'old', tokenFile: 'token' } },
    files: { token: 'new\n' },
    authorization: 'Bearer new',
  },
  {
    what: 'a user and a password',
    parts: { user: { username: 'me', password: 'secret' } },
    authorization: `Basic ${base64('me:secret')}`,
  },
  {
    what: 'files, relative to the kubeconfig',
    parts: {
      cluster: { 'certificate-authority': 'pki/ca.crt' },
      user: { 'client-certificate': 'pki/me.crt', 'client-key': './pki/me.key' },
    },
    files: { 'pki/ca.crt': pem, 'pki/me.crt': pem, 'pki/me.key': key },
    tls: { ca: pem, cert: pem, key },
  },
  {
    what: 'data, which comes before files',
    parts: {
      cluster: { 'certificate-authority': 'nowhere', 'certificate-authority-data': base64(pem) },
      user: { 'client-certificate-data': base64(pem), 'client-key-data': base64(key) },
    },
    tls: { ca: pem, cert: pem, key },
  },
  {
    what: 'empty texts, which are as good as none',
    parts: {
      cluster: { 'certificate-authority': '', 'certificate-authority-data': '', 'tls-server-name': '' },
      user: { token: '', tokenFile: '', 'client-certificate': '', 'client-key-data': '', username: '' },
    },
  },
];

for (const { what, parts, files, tls = {}, authorization } of understood) {
  test(`a kubeconfig with ${what} is understood`, async () => {
    const connection = await read(kubeconfig(parts), files);
    assert.equal(connection.server.href, `${server}/`);
    const given = Object.entries(connection.tls).filter(([, value]) => value !== undefined);
    assert.deepEqual(Object.fromEntries(given), tls);
    assert.deepEqual(connection.headers, authorization === undefined ? {} : { authorization });
  });
}

const refused: ReadonlyArray<{
  readonly what: string;
  readonly text: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly message: string | RegExp;
}> = [
  { what: 'YAML that is none', text: 'clusters: [', message: /^kubeconfig \/d\/kubeconfig: .* at line 1, column/ },
  {
    what: 'nothing in it',
    text: '',
    message: 'kubeconfig /d/kubeconfig: Invalid input: expected object, received null',
  },
  {
    what: 'a server that is no URL',
    text: kubeconfig({ cluster: { server: '10.0.0.1' } }),
    message:
      'kubeconfig /d/kubeconfig: clusters[0].cluster.server: expected the URL of the API server, such as https://10.0.0.1:6443',
  },
  {
    what: 'no current context',
    text: kubeconfig({ more: { 'current-context': undefined } }),
    message: /^kubeconfig \/d\/kubeconfig: current-context: /,
  },
  {
    what: 'a context that does not exist',
    text: kubeconfig({ more: { 'current-context': 'y' } }),
    message: 'kubeconfig /d/kubeconfig: there is no context "y"; it has x',
  },
  {
    what: 'a user that does not exist',
    text: kubeconfig({ more: { users: [] } }),
    message: 'kubeconfig /d/kubeconfig: there is no user "u"; it has none',
  },
  {
    what: 'a file that does not exist',
    text: kubeconfig({ cluster: { 'certificate-authority': 'pki/ca.crt' } }),
    message: /^kubeconfig \/d\/kubeconfig: certificate-authority: ENOENT.*'\/d\/pki\/ca\.crt'$/,
  },
  {
    what: 'a file that is no certificate',
    text: kubeconfig({ cluster: { 'certificate-authority': 'ca.crt' } }),
    files: { 'ca.crt': 'hello' },
    message:
      'kubeconfig /d/kubeconfig: certificate-authority: /d/ca.crt: expected PEM, which begins with a line as -----BEGIN CERTIFICATE-----',
  },
  {
    what: 'data that are no certificate',
    text: kubeconfig({ user: { 'client-certificate-data': base64('hello') } }),
    message: /^kubeconfig \/d\/kubeconfig: client-certificate-data: expected PEM/,
  },
  {
    what: 'a certificate without its key',
    text: kubeconfig({ user: { 'client-certificate-data': base64(pem) } }),
    message: 'kubeconfig /d/kubeconfig: expected client-certificate and client-key, or neither',
  },
  {
    what: 'a token file that is empty',
    text: kubeconfig({ user: { tokenFile: 'token' } }),
    files: { token: '\n' },
    message: 'kubeconfig /d/kubeconfig: tokenFile: /d/token: expected a token, found nothing',
  },
  {
    what: 'a token that no header can carry, which is not told',
    text: kubeconfig({ user: { token: 'secret\nInjected: header' } }),
    message: 'kubeconfig /d/kubeconfig: token: expected a token, found something else',
  },
  {
    what: 'a proxy',
    text: kubeconfig({ cluster: { 'proxy-url': 'http://proxy' } }),
    message: 'kubeconfig /d/kubeconfig: clusters[0].cluster.proxy-url: a proxy is not supported',
  },
  {
    what: 'impersonation',
    text: kubeconfig({ user: { as: 'admin' } }),
    message: /^kubeconfig \/d\/kubeconfig: users\[0\]\.user\.as: impersonation is not supported/,
  },
  {
    what: 'an auth-provider',
    text: kubeconfig({ user: { 'auth-provider': { name: 'gcp' } } }),
    message: /^kubeconfig \/d\/kubeconfig: users\[0\]\.user\.auth-provider: auth-provider was removed/,
  },
  {
    what: 'a command that is none',
    text: kubeconfig({ user: { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: '' } } }),
    message: /^kubeconfig \/d\/kubeconfig: users\[0\]\.user\.exec\.command: /,
  },
];

for (const { what, text, files, message } of refused) {
  test(`a kubeconfig with ${what} is refused, and told where`, async () => {
    await assert.rejects(read(text, files), { message });
  });
}
