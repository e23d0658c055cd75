import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf } from './error.ts';
import { type ExecCredentials, execSchema } from './exec-credentials.ts';

/** Where the API server is, and what a connection and a request to it carry. */
export interface Connection {
  readonly server: URL;
  readonly tls: TlsOptions;
  readonly headers: Readonly<Record<string, string>>;
}

export interface TlsOptions {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly servername?: string | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
}

/** An empty text is as good as none, as for kubectl. */
const text = z
  .string()
  .optional()
  .transform((value) => value || undefined);

const base64 = text.transform((data) => (data === undefined ? undefined : Buffer.from(data, 'base64').toString()));

const unsupported = (why: string) => z.undefined({ error: why }).optional();

const clusterSchema = z.object({
  server: z.url({ protocol: /^https?$/, error: 'expected the URL of the API server, such as https://10.0.0.1:6443' }),
  'certificate-authority': text,
  'certificate-authority-data': base64,
  'insecure-skip-tls-verify': z.boolean().optional(),
  'tls-server-name': text,
  'proxy-url': unsupported('a proxy is not supported'),
});

const impersonation = unsupported('impersonation is not supported; use credentials of their own');

const userSchema = z.object({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': base64,
  'client-key': text,
  'client-key-data': base64,
  username: text,
  password: text,
  as: impersonation,
  'as-uid': impersonation,
  'as-groups': impersonation,
  'as-user-extra': impersonation,
  exec: execSchema.optional(),
  'auth-provider': unsupported(
    'auth-provider was removed from Kubernetes 1.26; use exec, a token or a client certificate',
  ),
});

type Cluster = z.infer<typeof clusterSchema>;
type User = z.infer<typeof userSchema>;

/** The file kubectl reads: clientcmd/api/v1 Config, as much of it as a client needs. */
const kubeconfigSchema = z.object({
  clusters: z.array(z.object({ name: z.string(), cluster: clusterSchema })),
  contexts: z.array(z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: z.string() }) })),
  users: z.array(z.object({ name: z.string(), user: userSchema })),
  'current-context': z.string().min(1),
});

/**
 * Reads a kubeconfig and all files that its current context names.
 *
 * @param commands Keeps what commands have answered, for the next time.
 * @throws {Error} naming the file, the path in it and what was expected there.
 */
export async function connectionOf(file: string, commands: ExecCredentials): Promise<Connection> {
  try {
    const config = await readKubeconfig(file);
    const { context } = find(config.contexts, 'context', config['current-context']);
    const { cluster } = find(config.clusters, 'cluster', context.cluster);
    const { user } = find(config.users, 'user', context.user);
    const [ca, own] = await Promise.all([authorityOf(file, cluster), credentialsOf(file, user, commands)]);
    return {
      server: new URL(cluster.server),
      tls: {
        ca,
        cert: own.cert,
        key: own.key,
        servername: cluster['tls-server-name'],
        rejectUnauthorized: cluster['insecure-skip-tls-verify'] ? false : undefined,
      },
      headers: authorization(user, own.token),
    };
  } catch (error) {
    throw new Error(`kubeconfig ${file}: ${messageOf(error)}`, { cause: error });
  }
}

async function readKubeconfig(file: string): Promise<z.infer<typeof kubeconfigSchema>> {
  const text = await readFile(file, 'utf8');
  // Loaded only where there is a kubeconfig: a daemon in a pod does without YAML.
  const { parse } = await import('yaml');
  return kubeconfigSchema.parse(parse(text));
}

function find<T extends { readonly name: string }>(items: readonly T[], kind: string, name: string): T {
  const found = items.find((item) => item.name === name);
  if (found !== undefined) return found;
  const names = items.map((item) => item.name).join(', ') || 'none';
  throw new Error(`there is no ${kind} "${name}"; it has ${names}`);
}

async function authorityOf(file: string, cluster: Cluster): Promise<string | undefined> {
  const key = 'certificate-authority';
  return material(file, key, cluster[key], cluster['certificate-authority-data']);
}

async function credentialsOf(file: string, user: User, commands: ExecCredentials) {
  const tokenFile = user.tokenFile && resolve(dirname(file), user.tokenFile);
  const [cert, key, token, issued] = await Promise.all([
    material(file, 'client-certificate', user['client-certificate'], user['client-certificate-data']),
    material(file, 'client-key', user['client-key'], user['client-key-data']),
    tokenFile && read('tokenFile', tokenFile),
    user.exec === undefined ? undefined : commands.get(file, user.exec),
  ]);
  if ((cert === undefined) !== (key === undefined)) {
    throw new Error('expected client-certificate and client-key, or neither');
  }
  // A token from a file is newer than one in the kubeconfig; what a command issues is newest.
  const fromFile = token === undefined ? undefined : requireToken(token, `tokenFile: ${tokenFile}`);
  const given = user.token && requireToken(user.token, 'token');
  const { clientCertificateData = cert, clientKeyData = key } = issued ?? {};
  return { cert: clientCertificateData, key: clientKeyData, token: issued?.token ?? fromFile ?? given };
}

/** Certificates and keys, given as they are or by file: relative to the kubeconfig, not to the process. */
async function material(
  file: string,
  key: string,
  path: string | undefined,
  data: string | undefined,
): Promise<string | undefined> {
  if (data !== undefined) return requirePem(data, `${key}-data`);
  if (path === undefined) return undefined;
  const absolute = resolve(dirname(file), path);
  return requirePem(await read(key, absolute), `${key}: ${absolute}`);
}

async function read(key: string, path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw new Error(`${key}: ${messageOf(error)}`, { cause: error });
  });
}

/** @throws {Error} for what TLS would refuse in words of its own, without saying where it came from. */
export function requirePem(text: string, where: string): string {
  if (/^-----BEGIN [A-Z0-9 ]+-----$/m.test(text)) return text;
  throw new Error(`${where}: expected PEM, which begins with a line as -----BEGIN CERTIFICATE-----`);
}

/** A token as a header can carry it. @throws {Error} of one that is not; the token itself is not told. */
export function requireToken(text: string, where: string): string {
  const token = text.trim();
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new Error(`${where}: expected a token, found ${token === '' ? 'nothing' : 'something else'}`);
}

function authorization({ username, password = '' }: User, token: string | undefined): Record<string, string> {
  if (token !== undefined) return { authorization: `Bearer ${token}` };
  if (username === undefined) return {};
  const basic = Buffer.from(`${username}:${password}`).toString('base64');
  return { authorization: `Basic ${basic}` };
}
