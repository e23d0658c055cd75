import type { Agent, IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import type { Access } from './access.ts';
import { ApiError, apiErrorOf, messageOf } from './error.ts';
import type { Connection } from './kubeconfig.ts';
import { linesOf } from './lines.ts';

/** Not imported: an import of node:http loads all of its parts, Node's WebSocket client among them, which are 17 MB. */
const http = process.getBuiltinModule('node:http');
const https = process.getBuiltinModule('node:https');

export interface Request {
  readonly method?: 'GET' | 'POST' | 'PATCH';
  /** Absolute path; segments that come from outside are made with {@link segment}. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** What the answer is to be, JSON unless told. */
  readonly accept?: string;
  readonly signal?: AbortSignal;
  /** Milliseconds for the whole exchange, 10 s unless told. */
  readonly timeout?: number;
}

export interface StreamRequest extends Pick<Request, 'path' | 'query' | 'accept'> {
  readonly signal: AbortSignal;
  /** Milliseconds until the answer's head. */
  readonly timeout: number;
  /** Milliseconds without a byte after which the connection is taken for dead. */
  readonly silence: number;
  /** Milliseconds after which the stream ends in any case. */
  readonly lifetime: number;
}

/** Larger than any page of a list that we ask for. An object of Kubernetes is at most 1.5 MiB. */
const maxBody = 64 * 1024 * 1024;

/** Milliseconds of silence after which the kernel probes a connection. */
const keepAliveAfter = 15_000;

/** One path segment of a name that comes from outside. Names of Kubernetes need no escaping; others are refused. */
export function segment(kind: string, name: string): string {
  if (name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name)) return name;
  throw new ApiError(`"${name.slice(0, 300)}" cannot be the name of a ${kind}: expected a DNS subdomain`, {
    status: 404,
  });
}

/** Speaks HTTP/1.1 with the API server: bounded in time and size, with the credentials of the moment. */
export class Client implements Disposable {
  readonly #access: Access;
  #agents: Agents | undefined;

  constructor(access: Access) {
    this.#access = access;
  }

  /**
   * One exchange. A 401 is tried once more with credentials read anew; a kept connection that the server had closed
   * meanwhile, once more on a new one. All other repetition is the caller's.
   *
   * @returns The parsed JSON body.
   * @throws {ApiError}
   */
  async request(request: Request): Promise<unknown> {
    const limit = AbortSignal.timeout(request.timeout ?? 10_000);
    const signal = request.signal === undefined ? limit : AbortSignal.any([limit, request.signal]);
    const { response, operation } = await this.#open(request, signal);
    try {
      const body = await collect(response, operation);
      const value: unknown = body === '' ? undefined : JSON.parse(body);
      return value;
    } catch (error) {
      throw asApiError(operation, error, signal);
    }
  }

  /**
   * An answer in lines, as a watch gives. Reading is what drives it: nothing is buffered beyond one line. Leaving the
   * loop closes the connection.
   *
   * @param opened Called when the server has accepted.
   * @throws {ApiError}
   */
  async *stream(request: StreamRequest, opened: () => void): AsyncGenerator<string, void, void> {
    const controller = new AbortController();
    const signal = AbortSignal.any([request.signal, controller.signal]);
    const end = (why: string) => () => controller.abort(new DOMException(why, 'TimeoutError'));
    const lifetime = setTimeout(end('it lived longer than asked for'), request.lifetime);
    const silence = setTimeout(end('the connection was silent'), request.timeout);
    let operation = `GET ${request.path}`;
    try {
      const answer = await this.#open(request, signal, true);
      operation = answer.operation;
      opened();
      clearTimeout(silence);
      yield* linesOf(answer.response, request.silence, end('the connection was silent'));
    } catch (error) {
      throw asApiError(operation, error, signal);
    } finally {
      clearTimeout(lifetime);
      clearTimeout(silence);
      controller.abort();
    }
  }

  [Symbol.dispose](): void {
    this.#agents?.destroy();
  }

  async #open(request: Request, signal: AbortSignal, streaming = false): Promise<Answer> {
    const operationOf = (server: string) => `${request.method ?? 'GET'} ${request.path} of ${server}`;
    for (let refused = false; ; ) {
      let connection: Connection;
      try {
        connection = await unlessAborted(this.#access.connection(), signal);
      } catch (error) {
        throw asApiError(operationOf(this.#access.origin), error, signal);
      }
      const operation = operationOf(connection.server.origin);
      let response: IncomingMessage | typeof closedMeanwhile;
      let body = '';
      try {
        response = await this.#send(request, connection, signal, streaming);
        if (response === closedMeanwhile) continue;
        if (isSuccess(response)) return { response, operation };
        body = await collect(response, operation);
      } catch (error) {
        throw asApiError(operation, error, signal);
      }
      const status = response.statusCode ?? 0;
      if (status === 401) this.#access.expire(connection);
      if (status === 401 && !refused) {
        refused = true;
        continue;
      }
      throw apiErrorOf(operation, status, jsonOrNothing(body), response.headers['retry-after']);
    }
  }

  #send(
    request: Request,
    connection: Connection,
    signal: AbortSignal,
    streaming: boolean,
  ): Promise<IncomingMessage | typeof closedMeanwhile> {
    const url = new URL(connection.server);
    url.pathname = url.pathname.replace(/\/$/, '') + request.path;
    for (const [key, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, value);
    }
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    this.#agents = Agents.for(connection, this.#agents);
    const agent = streaming ? this.#agents.streams : this.#agents.requests;
    const options: RequestOptions = {
      method: request.method ?? 'GET',
      agent,
      signal,
      headers: {
        accept: request.accept ?? 'application/json',
        'user-agent': 'plexus',
        ...connection.headers,
        ...(body === undefined
          ? {}
          : { 'content-type': request.contentType ?? 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
    };
    return new Promise((resolve, reject) => {
      const outgoing = url.protocol === 'https:' ? https.request(url, options) : http.request(url, options);
      // The kernel finds out within half a minute that the other side is gone, also of a watch that waits in silence.
      outgoing.once('socket', (socket) => socket.setKeepAlive(true, keepAliveAfter));
      outgoing.once('response', resolve);
      outgoing.on('error', (error) => {
        if (outgoing.reusedSocket && isReset(error)) resolve(closedMeanwhile);
        else reject(error);
      });
      outgoing.end(body);
    });
  }
}

interface Answer {
  readonly response: IncomingMessage;
  readonly operation: string;
}

/** A kept connection turned out to be closed before it carried this request. */
const closedMeanwhile = Symbol('closed meanwhile');

/** Kept connections for requests; streams have their own, so that they never stand in a request's way. */
class Agents {
  readonly requests: Agent;
  readonly streams: Agent;
  readonly #fingerprint: string;
  /** Whose fingerprint that is: mostly that of the next request as well. */
  #connection: Connection;

  constructor(connection: Connection, fingerprint: string) {
    this.#connection = connection;
    const kept = { keepAlive: true, keepAliveMsecs: keepAliveAfter, maxSockets: 16, maxFreeSockets: 2 };
    const own = { keepAlive: false };
    const secure = connection.server.protocol === 'https:';
    this.requests = secure ? new https.Agent({ ...kept, ...defined(connection.tls) }) : new http.Agent(kept);
    this.streams = secure ? new https.Agent({ ...own, ...defined(connection.tls) }) : new http.Agent(own);
    this.#fingerprint = fingerprint;
  }

  /** The agents in use, or new ones where server or certificates have changed; what runs on old ones is let finish. */
  static for(connection: Connection, current: Agents | undefined): Agents {
    if (current !== undefined && current.#connection === connection) return current;
    const fingerprint = JSON.stringify([connection.server, connection.tls]);
    if (current !== undefined && current.#fingerprint === fingerprint) {
      current.#connection = connection;
      return current;
    }
    current?.retire();
    return new Agents(connection, fingerprint);
  }

  /** Closes idle connections now, and those in use once they are idle. */
  retire(): void {
    this.requests.maxFreeSockets = 0;
    for (const socket of Object.values(this.requests.freeSockets).flatMap((sockets) => sockets ?? [])) socket.destroy();
  }

  destroy(): void {
    this.requests.destroy();
    this.streams.destroy();
  }
}

/** Drops keys without a value: node tells `ca: undefined` from no `ca`. */
function defined<T extends object>(options: T): Partial<T> {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  const result: Partial<T> = {};
  Object.assign(result, Object.fromEntries(entries));
  return result;
}

/** Waits for something that cannot be aborted itself. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function isSuccess({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300;
}

function isReset(error: Error): boolean {
  return 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
}

/** By events: a loop over the response costs as much as all the rest of a request. */
function collect(response: IncomingMessage, operation: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  let size = 0;
  response.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > maxBody) response.destroy(new ApiError(`${operation}: the answer is longer than ${maxBody} bytes`, {}));
  });
  response.once('end', () => resolve(Buffer.concat(chunks).toString()));
  response.once('error', reject);
  // Of no effect after one of the others.
  response.once('close', () => reject(new Error('the connection was closed in the midst of the answer')));
  return promise;
}

function jsonOrNothing(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function asApiError(operation: string, error: unknown, signal: AbortSignal): ApiError {
  if (error instanceof ApiError) return error;
  // Of an aborted request node only says that it was aborted; the reason says why.
  const cause: unknown = signal.aborted ? signal.reason : error;
  return new ApiError(`${operation}: ${messageOf(cause)}`, {}, { cause });
}
