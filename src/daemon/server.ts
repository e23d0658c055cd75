import { createServer, type Server, type Socket } from 'node:net';
import { CniError, ErrorCode, renderError, toCniError } from '../cni/error.ts';
import { newestVersion } from '../cni/version.ts';
import { type Answer, encodeAnswer, type Request, RequestReader } from './frame.ts';
import type { Logger } from './log.ts';
import { peerOf } from './peer.ts';
import { listenAt } from './socket.ts';

export interface Limits {
  /** Calls at a time. A node has about a hundred pods; a few calls for each may wait. */
  readonly connections: number;
  /** Milliseconds in which a request must have arrived. The shim has all of it before it connects. */
  readonly requestMs: number;
  /** Milliseconds in which the answer must have been read. */
  readonly answerMs: number;
}

const defaultLimits: Limits = { connections: 1000, requestMs: 10_000, answerMs: 10_000 };

export interface ServerOptions {
  readonly path: string;
  /** Never rejects. */
  readonly answer: (request: Request) => Promise<Answer>;
  readonly log: Logger;
  readonly limits?: Partial<Limits>;
}

/** Takes calls of the shim: one on each connection, from root alone. */
export class CallServer {
  readonly #options: ServerOptions;
  readonly #limits: Limits;
  readonly #server: Server;
  /** Connections, each with its call once that has arrived. */
  readonly #connections = new Map<Socket, Promise<void> | undefined>();
  #lock: AsyncDisposable | undefined;

  private constructor(options: ServerOptions) {
    this.#options = options;
    this.#limits = { ...defaultLimits, ...options.limits };
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** @throws {Error} when somebody else listens there, saying who. */
  static async listen(options: ServerOptions): Promise<CallServer> {
    const server = new CallServer(options);
    server.#lock = await listenAt(server.#server, options.path);
    server.#server.on('error', (error) => options.log.error({ err: error }, 'cannot take a call'));
    return server;
  }

  /**
   * Takes no more calls, waits for those under way, and removes the socket.
   *
   * @param limitMs How long calls are waited for.
   * @returns How many were given up.
   */
  async close(limitMs: number): Promise<number> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const [socket, call] of this.#connections) if (call === undefined) socket.destroy();
    const calls = [...this.#connections.values()].filter((call) => call !== undefined);
    const timer = Promise.withResolvers<void>();
    const timeout = setTimeout(timer.resolve, limitMs);
    await Promise.race([Promise.all(calls), timer.promise]);
    clearTimeout(timeout);
    const givenUp = this.#connections.size;
    for (const socket of this.#connections.keys()) socket.destroy();
    await closed;
    await this.#lock?.[Symbol.asyncDispose]();
    return givenUp;
  }

  #accept(socket: Socket): void {
    const { log } = this.#options;
    socket.on('error', (error) => log.debug({ err: error }, 'the shim went away'));
    socket.once('close', () => this.#connections.delete(socket));
    this.#connections.set(socket, undefined);
    try {
      this.#refuseStrangers(socket);
    } catch (error) {
      log.warn({ code: toCniError(error).code }, toCniError(error).message);
      this.#end(socket, failure(error));
      return;
    }
    this.#read(socket);
  }

  #refuseStrangers(socket: Socket): void {
    const { pid, uid } = peerOf(socket);
    if (uid !== 0) {
      throw new CniError(
        ErrorCode.IoFailure,
        `process ${pid} of user ${uid} called: the Plexus daemon answers root alone`,
      );
    }
    if (this.#connections.size > this.#limits.connections) {
      throw new CniError(ErrorCode.TryAgainLater, `more than ${this.#limits.connections} calls at a time`);
    }
  }

  #read(socket: Socket): void {
    const reader = new RequestReader();
    const refuse = (error: unknown): void => {
      done();
      this.#options.log.warn({ code: toCniError(error).code }, toCniError(error).message);
      this.#end(socket, failure(error));
    };
    const incomplete = (why: string) => (): void => refuse(new CniError(ErrorCode.IoFailure, `the request ${why}`));
    const timer = setTimeout(incomplete(`did not arrive in ${this.#limits.requestMs} ms`), this.#limits.requestMs);
    const done = (): void => {
      clearTimeout(timer);
      socket.removeAllListeners('data').removeAllListeners('end').pause();
    };
    socket.on('data', (piece: Buffer) => {
      try {
        const request = reader.push(piece);
        if (request === undefined) return;
        done();
        this.#connections.set(socket, this.#answer(socket, request));
      } catch (error) {
        refuse(error);
      }
    });
    socket.once('end', incomplete('ended before all of it had arrived'));
    socket.once('close', () => clearTimeout(timer));
  }

  async #answer(socket: Socket, request: Request): Promise<void> {
    const answer = await this.#options.answer(request);
    if (socket.destroyed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once('close', resolve);
    this.#end(socket, answer);
    await promise;
  }

  /** Sends an answer and closes. Whatever else the other end has to say is not read. */
  #end(socket: Socket, answer: Answer): void {
    const timer = setTimeout(() => socket.destroy(), this.#limits.answerMs);
    socket.once('close', () => clearTimeout(timer));
    socket.end(frameOf(answer), () => socket.destroy());
  }
}

/** An answer to what could not be read, and so says no version. */
function failure(error: unknown): Answer {
  return { exitStatus: 1, stdout: renderError(toCniError(error), newestVersion) };
}

function frameOf(answer: Answer): Buffer {
  try {
    return encodeAnswer(answer);
  } catch (error) {
    return encodeAnswer(failure(error));
  }
}
