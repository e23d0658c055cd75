import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { ExecCredentials } from './exec-credentials.ts';
import { type Connection, connectionOf, requirePem, requireToken } from './kubeconfig.ts';

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface AccessOptions {
  /** Where it comes from, for messages. */
  readonly origin: string;
  /** Reads all there is to read. */
  readonly load: () => Promise<Connection>;
  /** Called when what was read has been refused. */
  readonly forget?: () => void;
  /**
   * Milliseconds after which it is read again, 30 s unless told: service-account credentials are replaced about every
   * hour, per-node certificates every few minutes.
   */
  readonly freshFor?: number;
  /** Whether what was read last is used where reading fails; true unless told. */
  readonly keepLast?: boolean;
}

/**
 * The way to the API server, with credentials that change while we run. Everything is read again every half minute and
 * after a 401; when that fails (a file in the midst of being replaced), the last state is used that was not refused.
 */
export class Access {
  readonly #options: AccessOptions;
  #current: { readonly connection: Connection; readonly at: number } | undefined;
  #loading: Promise<Connection> | undefined;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** From a kubeconfig file, its current context. */
  static kubeconfig(file: string): Access {
    const commands = new ExecCredentials();
    return new Access({
      origin: `kubeconfig ${file}`,
      load: () => connectionOf(file, commands),
      forget: () => commands.forget(),
    });
  }

  /**
   * From what a pod is given: the service's address in the environment, token and authority in files.
   *
   * @param directory Where the service account is mounted.
   */
  static inCluster(environment: NodeJS.ProcessEnv = process.env, directory: string = serviceAccount): Access {
    return new Access({
      origin: `service account in ${directory}`,
      load: () => inClusterConnection(environment, directory),
    });
  }

  get origin(): string {
    return this.#options.origin;
  }

  /**
   * What the next request is to use.
   *
   * @throws {Error} when there is nothing to use: which file, which key, what was expected.
   */
  async connection(): Promise<Connection> {
    const { freshFor = 30_000 } = this.#options;
    if (this.#current !== undefined && performance.now() - this.#current.at < freshFor) return this.#current.connection;
    this.#loading ??= this.#reload().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  /** The server refused the credentials: all is read again before the next request, unless it was meanwhile. */
  expire(refused: Connection): void {
    if (this.#current?.connection !== refused) return;
    this.#options.forget?.();
    this.#current = undefined;
  }

  async #reload(): Promise<Connection> {
    try {
      const connection = await this.#options.load();
      this.#current = { connection, at: performance.now() };
      return connection;
    } catch (error) {
      if (this.#current === undefined || this.#options.keepLast === false) throw error;
      return this.#current.connection;
    }
  }
}

async function inClusterConnection(environment: NodeJS.ProcessEnv, directory: string): Promise<Connection> {
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'];
  if (!host || !port) {
    throw new Error(
      'no kubeconfig was given, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this process does not run in a pod',
    );
  }
  const tokenFile = join(directory, 'token');
  const caFile = join(directory, 'ca.crt');
  const [token, ca] = await Promise.all([readFile(tokenFile, 'utf8'), readFile(caFile, 'utf8')]);
  return {
    server: new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`),
    tls: { ca: requirePem(ca, caFile) },
    headers: { authorization: `Bearer ${requireToken(token, tokenFile)}` },
  };
}
