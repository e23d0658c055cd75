import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { stringify } from 'yaml';
import type { JsonValue } from '../../cni/json.ts';
import { discover } from './discovery.ts';
import { Failure } from './failure.ts';
import { type Fault, Faults, suffer } from './faults.ts';
import { answer, type Call, presentationOf, selectorOf, versionOf } from './handler.ts';
import type { KubernetesObject } from './object.ts';
import { targetOf } from './request.ts';
import { namespaces } from './resources.ts';
import { Store, type StoreOptions } from './store.ts';
import { Watch } from './watch.ts';

export interface ApiOptions extends StoreOptions {
  /** What there is from the start. Namespaces that it is in are made. */
  readonly objects?: readonly KubernetesObject[];
  /** 0 or absent: any that is free. */
  readonly port?: number;
  /** Milliseconds between a watch's bookmarks; the API server's own is a minute. */
  readonly bookmarkEvery?: number;
  /**
   * What the paths of requests must begin with; it stands in the kubeconfig's URL, for clients send no token without TLS.
   * Absent: whoever reaches loopback may do everything.
   */
  readonly secret?: string;
}

/** Every cluster has them. */
const initialNamespaces = ['default', 'kube-node-lease', 'kube-public', 'kube-system'];

/** A watch whose reader is this many bytes behind is cut: it comes back when it can. */
const maxBehind = 4 * 1024 * 1024;

/**
 * Starts an embedded Kubernetes API on loopback, with all state in memory and, unless a secret is given, no
 * authentication: enough for kubectl to get, describe, create, apply, delete and watch what {@link resources} lists, and
 * for tests to have everything go wrong that goes wrong with a real one.
 */
export async function startApi(options: ApiOptions = {}): Promise<Api> {
  const api = new Api(options);
  await api.start(options.port ?? 0);
  return api;
}

export class Api implements AsyncDisposable {
  readonly #options: ApiOptions;
  readonly #faults = new Faults();
  readonly #watches = new Set<{ readonly watch: Watch; readonly response: ServerResponse }>();
  #store: Store;
  #server: http.Server;
  #port = 0;

  constructor(options: ApiOptions) {
    this.#options = options;
    this.#store = filled(options);
    this.#server = this.#newServer();
  }

  /** The objects; its methods do what requests do, and watches see it. */
  get store(): Store {
    return this.#store;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Number of watches that are open now. */
  get watches(): number {
    return this.#watches.size;
  }

  /**
   * A kubeconfig for kubectl and for Plexus.
   *
   * @param server The URL to reach it by, where that is not loopback of this process.
   */
  kubeconfig(server: string = this.url): string {
    const name = 'playground';
    const { secret } = this.#options;
    return stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server: secret === undefined ? server : `${server}/${secret}` } }],
      contexts: [{ name, context: { cluster: name, user: name, namespace: 'default' } }],
      users: [{ name, user: {} }],
      'current-context': name,
    });
  }

  /** @throws {Error} when the port is taken. */
  async start(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, '127.0.0.1', resolve);
    });
    this.#port = portOf(this.#server.address());
  }

  /** Serves a connection that was accepted elsewhere, such as in another network namespace. */
  serve(connection: Socket): void {
    this.#server.emit('connection', connection);
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const { watch } of this.#watches) watch.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Has coming requests go wrong. */
  fault(fault: Fault): void {
    this.#faults.add(fault);
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  /** Closes the connections of all watches, in the midst of whatever they are. */
  cutWatches(): void {
    for (const { response } of this.#watches) response.destroy();
  }

  /** Leaves the connections of all watches open and never sends anything on them again: half-open connections. */
  freezeWatches(): void {
    for (const { watch } of this.#watches) watch.freeze();
  }

  /** Tells all watches in their streams that their version is too old, as the API server's watch cache does. */
  expireWatches(): void {
    for (const { watch } of this.#watches)
      watch.fail(new Failure('Expired', 'The resourceVersion for the provided watch is too old.'));
  }

  /** As compaction: versions before now are answered with 410 Gone. */
  forgetHistory(): void {
    this.#store.forgetHistory();
  }

  /**
   * Goes away and comes back on the same port.
   *
   * @param between What happens meanwhile, while nobody can connect.
   * @param objects With them, all that there was is lost, and versions start from the beginning.
   */
  async restart(between: () => void | Promise<void> = () => {}, objects?: readonly KubernetesObject[]): Promise<void> {
    await this.close();
    if (objects !== undefined) this.#store = filled({ ...this.#options, objects });
    await between();
    this.#server = this.#newServer();
    await this.start(this.#port);
  }

  #newServer(): http.Server {
    const server = http.createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => this.#refuse(response, error));
    });
    server.on('clientError', (_error, socket) => socket.destroy());
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // Not relative to a base: a path may begin with two slashes.
    const url = URL.parse(this.url + (request.url ?? '/'));
    if (url === null) throw new Failure('BadRequest', `not a path: ${request.url}`);
    const fault = this.#faults.take(request.method ?? '', url.pathname + url.search, request.headers);
    if (fault !== undefined) {
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      const outcome = await suffer(fault, gone.signal);
      if (outcome === 'reset') return void request.socket.destroy();
      if (outcome instanceof Failure) throw outcome;
      if (outcome !== undefined) return void response.end(outcome.body);
    }
    if (/^\/(healthz|livez|readyz)$/.test(url.pathname)) return void response.end('ok');
    const { secret } = this.#options;
    if (secret !== undefined) {
      if (!url.pathname.startsWith(`/${secret}/`)) throw new Failure('Unauthorized', 'Unauthorized');
      url.pathname = url.pathname.slice(secret.length + 1);
    }

    const discovered = discover(url.pathname, request.headers.accept ?? '');
    if (discovered !== undefined) return write(response, 200, discovered.body, discovered.contentType);

    const target = targetOf(url.pathname);
    if (target === undefined) throw new Failure('NotFound', 'the server could not find the requested resource');
    // RFC 7234, section 5.5, as the API server has it: what kubectl prints as a warning. Headers are of plain characters.
    const warn = (text: string): void => {
      response.appendHeader('warning', `299 - ${JSON.stringify(text.replaceAll(/[^ -~]/g, '?'))}`);
    };
    const call: Call = { request, target, query: url.searchParams, store: this.#store, warn };
    if (request.method === 'GET' && isTrue(url.searchParams.get('watch'))) return this.#watch(call, response);
    const { status, body } = await answer(call);
    if (fault?.lost) return void request.socket.destroy();
    write(response, status, body);
  }

  #watch(call: Call, response: ServerResponse): void {
    const { query, target } = call;
    if (query.has('sendInitialEvents'))
      throw new Failure(
        'Invalid',
        'sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
      );
    const name = target.name === undefined ? '' : `metadata.name=${target.name}`;
    if (name !== '') query.set('fieldSelector', [query.get('fieldSelector') ?? '', name].filter(Boolean).join(','));
    const since = versionOf(query.get('resourceVersion') || '0');
    const seconds = Number(query.get('timeoutSeconds')) || 1_800 * (1 + Math.random());
    const selector = selectorOf(call);
    const sink = {
      write: (line: string): void => {
        response.write(line);
        if (response.writableLength > maxBehind) response.destroy();
      },
      end: (): void => void response.end(),
    };
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    try {
      const watch = new Watch(
        {
          store: this.#store,
          resource: target.resource,
          selector,
          since: since === 0 ? undefined : since,
          bookmarks: isTrue(query.get('allowWatchBookmarks')),
          lifetime: seconds * 1000,
          bookmarkEvery: this.#options.bookmarkEvery ?? 60_000,
          present: presentationOf(call).one,
        },
        sink,
      );
      const open = { watch, response };
      this.#watches.add(open);
      response.once('close', () => {
        this.#watches.delete(open);
        watch.close();
      });
    } catch (error) {
      // Of a version that it no longer has, the API server tells in the stream.
      const { body } = asFailure(error);
      response.end(`${JSON.stringify({ type: 'ERROR', object: body })}\n`);
    }
  }

  #refuse(response: ServerResponse, error: unknown): void {
    if (response.headersSent || response.destroyed) return void response.destroy();
    const failure = asFailure(error);
    const seconds = failure.details['retryAfterSeconds'];
    if (typeof seconds === 'number') response.setHeader('retry-after', String(seconds));
    write(response, failure.status, failure.body);
  }
}

function filled(options: ApiOptions): Store {
  const store = new Store(options);
  const objects = options.objects ?? [];
  const inNamespaces = objects.flatMap(({ metadata }) => metadata.namespace ?? []);
  const own = objects.filter((object) => object.kind === 'Namespace');
  const others = objects.filter((object) => object.kind !== 'Namespace');
  for (const object of own) store.create(object);
  for (const name of new Set([...initialNamespaces, ...inNamespaces])) {
    if (store.find(namespaces, undefined, name) !== undefined) continue;
    store.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  }
  for (const object of others) store.create(object);
  return store;
}

function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure('InternalError', error instanceof Error ? error.message : String(error));
}

function write(
  response: ServerResponse,
  status: number,
  body: JsonValue | Buffer,
  contentType = 'application/json',
): void {
  response.writeHead(status, { 'content-type': contentType });
  response.end(Buffer.isBuffer(body) ? body : JSON.stringify(body));
}

function isTrue(text: string | null): boolean {
  return text === 'true' || text === '1';
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}
