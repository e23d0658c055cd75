import { execFile } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { issuesOf } from './issues.ts';

export const execSchema = z.object({
  apiVersion: z.string().startsWith('client.authentication.k8s.io/').default('client.authentication.k8s.io/v1'),
  command: z.string().min(1),
  args: z
    .array(z.string())
    .nullish()
    .transform((args) => args ?? []),
  env: z
    .array(z.object({ name: z.string(), value: z.string() }))
    .nullish()
    .transform((env) => env ?? []),
  installHint: z.string().optional(),
  provideClusterInfo: z
    .literal(false, { error: 'a command that wants to know the cluster is not supported' })
    .optional(),
});

export type ExecConfig = z.infer<typeof execSchema>;

const credentialSchema = z.object({
  kind: z.literal('ExecCredential'),
  status: z
    .object({
      token: z
        .string()
        .regex(/^[\x21-\x7e]+$/, 'expected a token')
        .optional(),
      clientCertificateData: z.string().optional(),
      clientKeyData: z.string().optional(),
      expirationTimestamp: z.iso.datetime({ offset: true }).optional(),
    })
    .refine(
      ({ token, clientCertificateData, clientKeyData }) =>
        token !== undefined || (clientCertificateData !== undefined && clientKeyData !== undefined),
      'expected token, or clientCertificateData and clientKeyData',
    ),
});

export type Credentials = z.infer<typeof credentialSchema>['status'];

/** Credentials are replaced this many milliseconds before they expire. */
const leeway = 60_000;

/**
 * Credentials from the command that a kubeconfig names, such as `aws eks get-token` on an EKS node
 * (client.authentication.k8s.io, "client-go credential plugins"). Kept until shortly before they expire.
 */
export class ExecCredentials {
  readonly #timeout: number;
  #kept: { readonly config: string; readonly credentials: Credentials } | undefined;

  /** @param timeout Milliseconds that the command may take: `aws eks get-token` asks a server over the network. */
  constructor(timeout = 30_000) {
    this.#timeout = timeout;
  }

  /**
   * @param file The kubeconfig: a command with a slash in it is relative to its directory.
   * @throws {Error} naming the command and what came of it.
   */
  async get(file: string, config: ExecConfig): Promise<Credentials> {
    const fingerprint = JSON.stringify(config);
    if (this.#kept?.config === fingerprint && !isExpiring(this.#kept.credentials)) return this.#kept.credentials;
    const credentials = readCredentials(config.command, await run(file, config, this.#timeout));
    this.#kept = { config: fingerprint, credentials };
    return credentials;
  }

  /** The server refused them. */
  forget(): void {
    this.#kept = undefined;
  }
}

function isExpiring({ expirationTimestamp }: Credentials): boolean {
  return expirationTimestamp !== undefined && Date.parse(expirationTimestamp) - Date.now() < leeway;
}

/** Runs the command, without a shell and without an input, and returns what it wrote. */
function run(file: string, config: ExecConfig, timeout: number): Promise<string> {
  const { apiVersion, command, args, env, installHint } = config;
  const info = { apiVersion, kind: 'ExecCredential', spec: { interactive: false } };
  const options = {
    timeout,
    killSignal: 'SIGKILL',
    maxBuffer: 1024 * 1024,
    env: {
      ...process.env,
      KUBERNETES_EXEC_INFO: JSON.stringify(info),
      ...Object.fromEntries(env.map(({ name, value }) => [name, value])),
    },
  } as const;
  const program = command.includes('/') ? resolve(dirname(file), command) : command;
  return new Promise((fulfil, reject) => {
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null) return fulfil(stdout);
      const why = error.killed
        ? `it did not end within ${timeout / 1000} s`
        : stderr.trim().slice(0, 500) || error.message;
      const hint = error.code === 'ENOENT' && installHint !== undefined ? `; ${installHint.trim()}` : '';
      reject(new Error(`${program} gave no credentials: ${why}${hint}`, { cause: error }));
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end();
  });
}

/** What is wrong with the output is told, the output is not: it may hold a token. */
function readCredentials(command: string, output: string): Credentials {
  let json: unknown;
  try {
    json = JSON.parse(output);
  } catch {
    throw new Error(`${command} gave no credentials: expected an ExecCredential as JSON on its standard output`);
  }
  const parsed = credentialSchema.safeParse(json);
  if (parsed.success) return parsed.data.status;
  throw new Error(`${command} gave no credentials: ${issuesOf(parsed.error)}`);
}
