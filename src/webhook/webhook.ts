import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KnownPlugins } from '../attach/definition-problems.ts';
import { serveHealth } from '../daemon/http.ts';
import type { Access } from '../kubernetes/access.ts';
import { Client } from '../kubernetes/client.ts';
import { messageOf } from '../kubernetes/error.ts';
import type { Log } from '../kubernetes/log.ts';
import { Networks } from '../kubernetes/networks.ts';
import { type ConfigurationOptions, paths, publish } from './configurations.ts';
import { type Kept, type KeptCertificateOptions, keptCertificate } from './kept-certificate.ts';
import { WebhookMetrics } from './metrics.ts';
import { reviewNetwork } from './networks.ts';
import { reviewPod } from './pods.ts';
import { type Reviewer, reload, serveReviews } from './server.ts';

export interface WebhookOptions
  extends Pick<ConfigurationOptions, 'podsFailurePolicy' | 'networksFailurePolicy'>,
    Pick<KeptCertificateOptions, 'life'> {
  readonly access: Access;
  /** Where the webhook itself is: its Secret and its Service. */
  readonly namespace: string;
  /** Of the Secret, the Service and both configurations. */
  readonly name: string;
  /** The URL that the API server reaches it by, without a path; undefined for its Service. */
  readonly url: string | undefined;
  readonly servicePort: number;
  readonly excludedNamespaces: readonly string[];
  readonly known: KnownPlugins;
  readonly multusNamespace: string;
  readonly downwardApi: boolean;
  /** 0 lets the kernel choose. */
  readonly port: number;
  readonly metricsPort: number;
  readonly address: string;
  readonly log: Log;
  readonly now?: () => number;
  /** Milliseconds between looks at what is kept in the cluster. */
  readonly lookEvery?: number;
}

/** A webhook that runs. */
export interface Webhook extends AsyncDisposable {
  readonly port: number;
  readonly metricsPort: number;
  /** Looks at what is kept in the cluster now, as it does each minute. @throws {ApiError} */
  look(): Promise<void>;
  close(): Promise<void>;
}

/** Milliseconds within which one replica serves what another has made. */
const defaultLook = 60_000;

/** Milliseconds that answers under way are waited for at the end. */
const closeMs = 5_000;

/** Milliseconds until another attempt to begin. */
const beginAgain = 2_000;

/**
 * Starts the webhook: gets its certificate, has the API server trust it, and answers; from then on it looks each minute whether all
 * of that is still so. While the API server is away at the beginning, it is waited for, and /readyz says so.
 *
 * @param signal Ends the waiting.
 * @throws {Error} when a port is taken, or when the signal is aborted before it has begun.
 */
export async function startWebhook(options: WebhookOptions, signal: AbortSignal): Promise<Webhook> {
  const { access, log, address, known } = options;
  await using ends = new AsyncDisposableStack();
  const client = ends.use(new Client(access));
  const networks = ends.use(new Networks({ client, log }));
  let kept: Kept | undefined;
  let server: Server | undefined;
  let problem = 'there is no certificate yet';
  const metrics = new WebhookMetrics(() => kept?.notAfter);
  const now = options.now ?? Date.now;
  const health = await serveHealth({
    registry: metrics.registry,
    // Networks that were not listed yet are asked for, one by one.
    problems: () => {
      if (kept === undefined || server === undefined) return [problem];
      const until = new Date(kept.notAfter).toISOString();
      return now() < kept.notAfter ? [] : [`the certificate expired at ${until}, and none could be made`];
    },
    port: options.metricsPort,
    address,
  });
  ends.defer(() => closed(health));

  /** The API server is told first: it must trust a certificate before it meets it. */
  const fresh = async (): Promise<Kept> => {
    const certificate = await keptCertificate({ ...certificateOptions(options), client, now });
    await publish(client, configurationOptions(options), certificate.authority, log);
    return certificate;
  };
  const look = async (): Promise<void> => {
    const certificate = await fresh();
    if (certificate.certificate !== kept?.certificate && server !== undefined) {
      reload(server, certificate);
      log.info({ until: new Date(certificate.notAfter).toISOString() }, 'serving another certificate');
    }
    kept = certificate;
  };

  kept = await untilThere(fresh, signal, (error) => {
    problem = messageOf(error);
    log.warn({ error: problem }, 'the webhook cannot begin yet; it is tried again');
  });
  const network = networks.get.bind(networks);
  const reviewers = new Map<string, Reviewer>([
    [paths.pods, (request) => reviewPod(request, { ...options, network })],
    [paths.networks, (request) => reviewNetwork(request, known)],
  ]);
  server = await serveReviews({ reviewers, metrics, log, serving: kept, port: options.port, address });
  const serving = server;
  ends.defer(() => closed(serving));
  const stop = new AbortController();
  const looking = keepLooking(look, options.lookEvery ?? defaultLook, log, stop.signal);
  ends.defer(() => looking);
  ends.defer(() => stop.abort());
  const running = ends.move();
  const close = () => running.disposeAsync();
  const [port, metricsPort] = [portOf(server.address()), portOf(health.address())];
  log.info({ port, metricsPort }, 'answering');
  return { port, metricsPort, look, close, [Symbol.asyncDispose]: close };
}

function certificateOptions(options: WebhookOptions): Omit<KeptCertificateOptions, 'client' | 'now'> {
  const { namespace, name, url, life, log } = options;
  const service = [`${name}.${namespace}.svc`, `${name}.${namespace}`] as const;
  const names: [string, ...string[]] = url === undefined ? [...service] : [hostOf(url)];
  return { namespace, secret: name, names, life, log };
}

/** Without the brackets of an IPv6 address. */
const hostOf = (url: string): string => new URL(url).hostname.replaceAll(/[[\]]/g, '');

function configurationOptions(options: WebhookOptions): ConfigurationOptions {
  const { namespace, name, url, servicePort, excludedNamespaces } = options;
  const reach = url === undefined ? { service: { namespace, name, port: servicePort } } : { url };
  // It would have to be asked about its own pods, which are to answer.
  const excluded = [...new Set([...excludedNamespaces, namespace])];
  const { podsFailurePolicy, networksFailurePolicy } = options;
  return { name, reach, podsFailurePolicy, networksFailurePolicy, excludedNamespaces: excluded };
}

async function untilThere<T>(get: () => Promise<T>, signal: AbortSignal, tell: (error: unknown) => void): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    try {
      return await get();
    } catch (error) {
      tell(error);
      await sleep(beginAgain, undefined, { signal });
    }
  }
}

async function keepLooking(look: () => Promise<void>, every: number, log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(every, undefined, { signal, ref: false }).catch(() => {});
    if (signal.aborted) return;
    await look().catch((error: unknown) => {
      log.warn(
        { error: messageOf(error) },
        'the certificate and its configurations could not be looked at; they are later',
      );
    });
  }
}

/** Lets what is being answered be answered; connections that are kept for more are closed. */
async function closed(server: HttpServer | Server): Promise<void> {
  const cut = setTimeout(() => server.closeAllConnections(), closeMs);
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
  clearTimeout(cut);
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('a server without a port');
  return address.port;
}
