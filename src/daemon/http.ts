import type { Server } from 'node:http';
import type { Registry } from 'prom-client';

/** Not imported: an import of node:http loads all of its parts, Node's WebSocket client among them, which are 17 MB. */
const { createServer } = process.getBuiltinModule('node:http');

export interface HealthOptions {
  readonly registry: Registry;
  /** What keeps pods from being attached now; empty when all is well. */
  readonly problems: () => readonly string[];
  /** 0 lets the kernel choose. */
  readonly port: number;
  /** Whom it is told: on loopback, this node alone. */
  readonly address: string;
}

/**
 * Serves /healthz, /readyz and /metrics.
 *
 * @throws {Error} when the port is taken.
 */
export async function serveHealth({ registry, problems, port, address }: HealthOptions): Promise<Server> {
  const server = createServer((request, response) => {
    const answer = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    };
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'text/plain', 'GET only\n');
    switch (request.url?.split('?', 1)[0]) {
      case '/healthz':
        return answer(200, 'text/plain', 'ok\n');
      case '/readyz': {
        const found = problems();
        return found.length === 0
          ? answer(200, 'text/plain', 'ok\n')
          : answer(503, 'text/plain', `${found.join('\n')}\n`);
      }
      case '/metrics':
        registry.metrics().then(
          (text) => answer(200, registry.contentType, text),
          (error: unknown) => answer(500, 'text/plain', `${error}\n`),
        );
        return;
      default:
        return answer(404, 'text/plain', 'not found; there are /healthz, /readyz and /metrics\n');
    }
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 5_000;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(port, address, resolve);
  try {
    await promise;
  } catch (error) {
    const at = address.includes(':') ? `[${address}]` : address;
    throw new Error(`metricsPort: cannot serve /metrics on ${at}:${port}: ${describe(error)}`, { cause: error });
  }
  return server;
}

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));
