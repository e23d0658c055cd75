import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { type Request, RequestReader } from '../../src/daemon/frame.ts';

const root = resolve(import.meta.dirname, '../..');

/** Builds a shim that ends with a report when it reads or writes where it must not. @returns Its path. */
export async function buildSanitized(directory: string): Promise<string> {
  const path = join(directory, 'plexus-sanitized');
  await promisify(execFile)('make', ['-C', join(root, 'shim'), 'SANITIZE=1', `OUT=${path}`]);
  return path;
}

export interface Call {
  readonly binary: string;
  /** argv[0]. */
  readonly as?: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
}

export interface Printed {
  readonly status: unknown;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Calls the shim as a container runtime does. */
export async function callShim({ binary, as = 'plexus', env, stdin = '' }: Call): Promise<Printed> {
  const child = spawn(binary, [], { argv0: as, env, stdio: 'pipe' });
  child.stdin.on('error', () => undefined); // it need not read all
  child.stdin.end(stdin);
  const [stdout, stderr, [status, signal]] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { status: status ?? signal, stdout, stderr };
}

export interface FakeDaemon extends AsyncDisposable {
  readonly requests: readonly Request[];
}

/**
 * Listens where the shim looks for the daemon.
 *
 * @param behave What it does with a connection. Absent: `answer` is sent for each whole request.
 */
export async function fakeDaemon(
  path: string,
  answer: Uint8Array | ((request: Request) => Uint8Array),
  behave?: (socket: Socket) => void,
): Promise<FakeDaemon> {
  const requests: Request[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    if (behave !== undefined) return behave(socket);
    const reader = new RequestReader();
    socket.on('data', (piece: Buffer) => {
      const request = reader.push(piece);
      if (request === undefined) return;
      requests.push(request);
      socket.end(typeof answer === 'function' ? answer(request) : answer);
    });
  });
  server.listen(path);
  await once(server, 'listening');
  return { requests, [Symbol.asyncDispose]: () => closed(server, sockets) };
}

async function closed(server: Server, sockets: ReadonlySet<Socket>): Promise<void> {
  const { promise, resolve: done } = Promise.withResolvers<void>();
  server.close(() => done());
  for (const socket of sockets) socket.destroy();
  await promise;
}
