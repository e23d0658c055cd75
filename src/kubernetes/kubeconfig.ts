import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { type ExecCredentials, execSchema } from './exec-credentials.ts';
import { issuesOf } from './issues.ts';

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

const text = z.string().optional();

const clusterSchema = z.object({
  server: z.url({ protocol: /^https?$/, error: 'expected the URL of the API server, such as https://10.0.0.1:6443' }),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().optional(),
  'tls-server-name': text,
  'proxy-url': z.undefined({ error: 'a proxy is not supported' }).optional(),
});

const userSchema = z.object({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  username: text,
  password: text,
  as: text,
  exec: execSchema.optional(),
  'auth-provider': z
    .undefined({ error: 'auth-provider was removed from Kubernetes 1.26; use exec, a token or a client certificate' })
    .optional(),
});

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
  const config = await readKubeconfig(file);
  const { cluster: clusterName, user: userName } = find(
    file,
    config.contexts,
    'context',
    config['current-context'],
  ).context;
  const cluster = find(file, config.clusters, 'cluster', clusterName).cluster;
  const user = find(file, config.users, 'user', userName).user;

  // Paths in a kubeconfig are relative to the file, not to the process.
  const material = async (path: string | undefined, data: string | undefined): Promise<string | undefined> => {
    if (data !== undefined) return Buffer.from(data, 'base64').toString();
    return path === undefined ? undefined : readFile(resolve(dirname(file), path), 'utf8');
  };
  const [ca, cert, key, token] = await Promise.all([
    material(cluster['certificate-authority'], cluster['certificate-authority-data']),
    material(user['client-certificate'], user['client-certificate-data']),
    material(user['client-key'], user['client-key-data']),
    material(user.tokenFile, undefined),
  ]);
  const issued = user.exec === undefined ? {} : await commands.get(file, user.exec);

  return {
    server: new URL(cluster.server),
    tls: {
      ca,
      cert: issued.clientCertificateData ?? cert,
      key: issued.clientKeyData ?? key,
      servername: cluster['tls-server-name'],
      rejectUnauthorized: cluster['insecure-skip-tls-verify'] ? false : undefined,
    },
    headers: {
      ...authorization(user, issued.token ?? token?.trim()),
      ...(user.as === undefined ? {} : { 'impersonate-user': user.as }),
    },
  };
}

async function readKubeconfig(file: string): Promise<z.infer<typeof kubeconfigSchema>> {
  const text = await readFile(file, 'utf8');
  // Loaded only where there is a kubeconfig: a daemon in a pod does without YAML.
  const { parse } = await import('yaml');
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new Error(`kubeconfig ${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  const parsed = kubeconfigSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw new Error(`kubeconfig ${file}: ${issuesOf(parsed.error)}`, { cause: parsed.error });
}

function find<T extends { readonly name: string }>(file: string, items: readonly T[], kind: string, name: string): T {
  const found = items.find((item) => item.name === name);
  if (found !== undefined) return found;
  const names = items.map((item) => item.name).join(', ') || 'none';
  throw new Error(`kubeconfig ${file}: there is no ${kind} "${name}"; it has ${names}`);
}

function authorization(user: User, newerToken: string | undefined): Record<string, string> {
  const token = newerToken ?? user.token;
  if (token !== undefined) return { authorization: `Bearer ${token}` };
  if (user.username === undefined) return {};
  const basic = Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64');
  return { authorization: `Basic ${basic}` };
}
