import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { Failure } from '../../src/playground/api/failure.ts';
import { type Fault, Faults, suffer } from '../../src/playground/api/faults.ts';
import type { Endpoint } from './kube-apiserver.ts';

/** What is to go wrong with coming requests, or with their answers. */
export interface ProxyFault extends Fault {
  /** Answer with something else than what came. */
  readonly edit?: (text: string) => string;
}

/** One request that came by. */
export interface Seen {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly accept: string;
}

/**
 * Stands before an API server, whichever it is, and has everything go wrong that can between a client and it. Plain HTTP/1.1
 * on loopback to the client; to the server with its TLS and credentials.
 */
export class FaultProxy implements AsyncDisposable {
  readonly #to: Endpoint;
  readonly #agent: http.Agent;
  readonly #faults = new Faults<ProxyFault>();
  readonly #watches = new Set<Watch>();
  #seen: Seen[] = [];
  #forgotten = 0;
  #server: http.Server;
  #port = 0;

  private constructor(to: Endpoint) {
    this.#to = to;
    this.#agent =
      to.ca === undefined ? new http.Agent({ keepAlive: true }) : new https.Agent({ keepAlive: true, ca: to.ca });
    this.#server = this.#newServer();
  }

  static async before(to: Endpoint): Promise<FaultProxy> {
    const proxy = new FaultProxy(to);
    await proxy.#listen();
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Number of watches that are open now. */
  get watches(): number {
    return this.#watches.size;
  }

  /** All requests since the beginning, or since {@link forgetSeen}, in the order they came. */
  get seen(): readonly Seen[] {
    return this.#seen;
  }

  forgetSeen(): void {
    this.#seen = [];
  }

  /** Has coming requests go wrong. */
  fault(fault: ProxyFault): void {
    this.#faults.add(fault);
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  /** Closes the connections of all watches, in the midst of a line. */
  cutWatches(): void {
    for (const { response } of this.#takeOver()) {
      response.write('{"type":"MODIFIED","object":{"meta', () => response.destroy());
    }
  }

  /** Leaves the connections of all watches open and never sends anything on them again: half-open connections. */
  freezeWatches(): void {
    for (const watch of this.#watches) watch.frozen = true;
  }

  /** Tells all watches in their streams that their version is too old, as the API server's watch cache does. */
  expireWatches(): void {
    for (const { response } of this.#takeOver()) response.end(expired);
  }

  /**
   * As compaction: watches from a version before this one are answered with 410 Gone.
   *
   * @param version A resourceVersion. They are numbers that rise, as clients may rely on since Kubernetes 1.35.
   */
  forgetBefore(version: string): void {
    this.#forgotten = Number(version);
  }

  /**
   * Goes away and comes back on the same port.
   *
   * @param between What happens meanwhile, while nobody can connect.
   */
  async restart(between: () => void | Promise<void> = () => {}): Promise<void> {
    await this.#close();
    await between();
    this.#server = this.#newServer();
    await this.#listen();
  }

  /** Goes away for good. */
  async close(): Promise<void> {
    await this.#close();
    this.#agent.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** From now on, what the open watches are told is not the server's business. */
  #takeOver(): Watch[] {
    const taken = [...this.#watches];
    this.#watches.clear();
    for (const watch of taken) {
      watch.frozen = true;
      watch.upstream.destroy();
    }
    return taken;
  }

  #newServer(): http.Server {
    const server = http.createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => refuse(response, error));
    });
    server.on('clientError', (_error, socket) => socket.destroy());
    return server;
  }

  async #listen(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen(this.#port, '127.0.0.1', resolve);
    await promise;
    const address: AddressInfo | string | null = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('a server without a port');
    this.#port = address.port;
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    for (const { upstream } of this.#watches) upstream.destroy();
    this.#server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url: path = '', headers } = request;
    this.#seen.push({ method, path, accept: headers.accept ?? '' });
    const fault = this.#faults.take(method, path, headers);
    if (fault !== undefined) {
      const gone = new AbortController();
      response.once('close', () => gone.abort());
      const outcome = await suffer(fault, gone.signal);
      if (outcome === 'reset') return void request.socket.destroy();
      if (outcome instanceof Failure) throw outcome;
      if (outcome !== undefined) return void response.end(outcome.body);
    }
    const { searchParams } = new URL(path, this.#to.url);
    const isWatch = searchParams.get('watch') === 'true';
    const version = Number(searchParams.get('resourceVersion') ?? '0');
    if (isWatch && version > 0 && version < this.#forgotten) return void response.end(expired);
    await this.#pass(request, response, { isWatch, edit: fault?.edit, lost: fault?.lost ?? false });
  }

  /** Passes a request on and its answer back. */
  async #pass(
    request: IncomingMessage,
    response: ServerResponse,
    { isWatch, edit, lost }: { isWatch: boolean; edit: ProxyFault['edit']; lost: boolean },
  ): Promise<void> {
    const { url, token } = this.#to;
    const { host, connection, 'accept-encoding': encoding, ...headers } = request.headers;
    const outgoing = (url.protocol === 'https:' ? https : http).request(new URL(request.url ?? '', url), {
      method: request.method,
      headers: { ...headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      agent: isWatch ? undefined : this.#agent,
      ...(this.#to.ca !== undefined && { ca: this.#to.ca }),
    });
    response.once('close', () => outgoing.destroy());
    outgoing.on('error', () => response.destroy());
    request.pipe(outgoing);
    outgoing.on('response', (upstream) => {
      upstream.on('error', () => response.destroy());
      if (lost) {
        upstream.resume();
        return void upstream.once('end', () => request.socket.destroy());
      }
      const { 'content-length': length, 'transfer-encoding': coding, ...kept } = upstream.headers;
      response.writeHead(upstream.statusCode ?? 502, kept);
      response.flushHeaders();
      const watch: Watch = { response, upstream, frozen: false };
      if (isWatch) this.#watches.add(watch);
      response.once('close', () => this.#watches.delete(watch));
      upstream.on('data', (chunk: Buffer) => {
        if (watch.frozen) return;
        response.write(edit === undefined ? chunk : edit(chunk.toString()));
      });
      upstream.on('end', () => {
        if (!watch.frozen) response.end();
      });
    });
  }
}

interface Watch {
  readonly response: ServerResponse;
  readonly upstream: IncomingMessage;
  frozen: boolean;
}

const tooOld = new Failure('Expired', 'The resourceVersion for the provided watch is too old.');
const expired = `${JSON.stringify({ type: 'ERROR', object: tooOld.body })}\n`;

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed || !(error instanceof Failure)) return void response.destroy();
  const seconds = error.details['retryAfterSeconds'];
  if (typeof seconds === 'number') response.setHeader('retry-after', String(seconds));
  response.writeHead(error.status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(error.body));
}
