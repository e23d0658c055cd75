import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Access } from '../kubernetes/access.ts';
import type { Log } from '../kubernetes/log.ts';
import { builtinPlugins } from '../plugins/builtin.ts';
import { startWebhook } from '../webhook/webhook.ts';

/** Milliseconds for the webhook to make itself known to the API in memory. */
const startMs = 30_000;

const days = 86_400_000;

/**
 * Runs the webhook of a cluster in this process, on loopback. Of executed plugins, the machine may have any.
 *
 * @throws {Error} when it cannot be started.
 */
export async function servePlaygroundWebhook(access: Access, log: Log): Promise<AsyncDisposable> {
  const address = '127.0.0.1';
  const port = await freePort(address);
  return startWebhook(
    {
      access,
      namespace: 'kube-system',
      name: 'plexus-webhook',
      url: `https://${address}:${port}`,
      servicePort: 443,
      excludedNamespaces: ['kube-system'],
      podsFailurePolicy: 'Fail',
      networksFailurePolicy: 'Fail',
      known: { builtin: new Set(builtinPlugins.map(({ type }) => type)), executed: undefined },
      multusNamespace: 'kube-system',
      downwardApi: false,
      life: 90 * days,
      port,
      metricsPort: 0,
      address,
      log,
    },
    AbortSignal.timeout(startMs),
  );
}

/** The API is told the port before anybody listens on it. */
async function freePort(address: string): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, 'listening');
  const found = server.address();
  server.close();
  await once(server, 'close');
  if (found === null || typeof found === 'string') throw new Error('a server without a port');
  return found.port;
}
