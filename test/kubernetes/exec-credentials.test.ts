import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ExecCredentials, execSchema } from '../../src/kubernetes/exec-credentials.ts';
import { testDirectory } from '../support/directory.ts';

const options = { timeout: 20_000 };
const apiVersion = 'client.authentication.k8s.io/v1';

/** A credential plugin in sh, and how often it ran. */
async function plugin(script: string, more: object = {}) {
  const directory = await testDirectory();
  const file = join(directory.path, 'kubeconfig');
  const runs = join(directory.path, 'runs');
  const path = join(directory.path, 'plugin.sh');
  await writeFile(path, `#!/bin/sh\necho run >>"${runs}"\n${script}\n`, { mode: 0o755 });
  return {
    file,
    directory: directory.path,
    config: execSchema.parse({ apiVersion, command: './plugin.sh', ...more }),
    runs: async (): Promise<number> => (await readFile(runs, 'utf8')).trim().split('\n').length,
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

const answer = (status: object): string => `echo '${JSON.stringify({ apiVersion, kind: 'ExecCredential', status })}'`;

test(
  'a command is told what is wanted, in its environment, with its arguments and without an input',
  options,
  async () => {
    await using given = await plugin(
      `cat; printf '{"kind":"ExecCredential","status":{"token":"%s:%s:%s"}}' "$1" "$OWN" "$(printf %s "$KUBERNETES_EXEC_INFO" | tr -d '"{} ')"`,
      { args: ['eks'], env: [{ name: 'OWN', value: 'own' }] },
    );
    const { token } = await new ExecCredentials().get(given.file, given.config);
    assert.equal(token, `eks:own:apiVersion:${apiVersion},kind:ExecCredential,spec:interactive:false`);
  },
);

test('credentials without an end are kept until they are refused', options, async () => {
  await using given = await plugin(answer({ token: 'a' }));
  const credentials = new ExecCredentials();
  await credentials.get(given.file, given.config);
  await credentials.get(given.file, given.config);
  assert.equal(await given.runs(), 1);
  credentials.forget();
  await credentials.get(given.file, given.config);
  assert.equal(await given.runs(), 2);
});

for (const { what, seconds, runs } of [
  { what: 'an hour to go are kept', seconds: 3600, runs: 1 },
  { what: 'half a minute to go are replaced', seconds: 30, runs: 2 },
]) {
  test(`credentials with ${what}`, options, async () => {
    const expirationTimestamp = new Date(Date.now() + seconds * 1000).toISOString();
    await using given = await plugin(answer({ token: 'a', expirationTimestamp }));
    const credentials = new ExecCredentials();
    await credentials.get(given.file, given.config);
    await credentials.get(given.file, given.config);
    assert.equal(await given.runs(), runs);
  });
}

test('another command in the kubeconfig is run, whatever was kept', options, async () => {
  await using given = await plugin(answer({ token: 'a' }));
  const credentials = new ExecCredentials();
  await credentials.get(given.file, given.config);
  await credentials.get(given.file, { ...given.config, args: ['other'] });
  assert.equal(await given.runs(), 2);
});

test('a client certificate comes with its key', options, async () => {
  await using given = await plugin(answer({ clientCertificateData: 'cert', clientKeyData: 'key' }));
  const { clientCertificateData, clientKeyData } = await new ExecCredentials().get(given.file, given.config);
  assert.deepEqual([clientCertificateData, clientKeyData], ['cert', 'key']);
});

const failures: ReadonlyArray<{ readonly what: string; readonly script: string; readonly message: RegExp }> = [
  {
    what: 'fails',
    script: 'echo "no such profile" >&2; exit 3',
    message: /plugin\.sh gave no credentials: no such profile$/,
  },
  {
    what: 'prints no JSON',
    script: 'echo secret',
    message: /expected an ExecCredential as JSON on its standard output$/,
  },
  {
    what: 'prints something else',
    script: `echo '{"kind":"Status"}'`,
    message: /gave no credentials: kind: .*; status: /,
  },
  {
    what: 'has nothing to give',
    script: answer({}),
    message: /status: expected token, or clientCertificateData and clientKeyData$/,
  },
  { what: 'gives half a certificate', script: answer({ clientCertificateData: 'x' }), message: /expected token, or/ },
  {
    what: 'gives a token that no header can carry',
    script: answer({ token: 'a b' }),
    message: /status\.token: expected a token$/,
  },
  { what: 'prints without end', script: 'exec yes', message: /maxBuffer/ },
];

for (const { what, script, message } of failures) {
  test(`a command that ${what} is told with its reason`, options, async () => {
    await using given = await plugin(script);
    await assert.rejects(new ExecCredentials().get(given.file, given.config), message);
  });
}

test('a command that does not end is killed, also one that ignores being asked', options, async () => {
  await using given = await plugin("trap '' TERM; exec sleep 1000");
  await assert.rejects(new ExecCredentials(50).get(given.file, given.config), /it did not end within 0\.05 s$/);
});

test('a command that is not installed is told with the hint of who wrote the kubeconfig', options, async () => {
  await using given = await plugin('', {
    command: 'plx-no-such-command',
    installHint: 'Install the aws command line.\n',
  });
  await assert.rejects(
    new ExecCredentials().get(given.file, given.config),
    /^Error: plx-no-such-command gave no credentials: spawn plx-no-such-command ENOENT; Install the aws command line\.$/,
  );
});
