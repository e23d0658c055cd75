import { mkdir } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { splitPath } from '../cni/invocation.ts';
import type { Plugin } from '../cni/plugin.ts';
import { Runner } from '../cni/runner.ts';
import { Journal } from '../journal/journal.ts';
import { Cluster } from '../kubernetes/cluster.ts';
import { builtinPlugins } from '../plugins/builtin.ts';
import { dhcp, dhcpLeases } from '../plugins/dhcp.ts';
import { callAnswerer } from './calls.ts';
import { clusterAccess, requireClusterAccess } from './cluster-access.ts';
import { keepCniConfig } from './cni-config/keep.ts';
import type { ConfigKeeper } from './cni-config/keeper.ts';
import { type DaemonConfig, reportUnused } from './config.ts';
import { offerDevices } from './devices.ts';
import { Gate } from './gate.ts';
import { serveHealth } from './http.ts';
import type { FollowerOptions } from './live/follower.ts';
import { startLive } from './live/live.ts';
import { lockFile } from './lock.ts';
import type { Logger } from './log.ts';
import { Metrics } from './metrics.ts';
import { KeyedQueue } from './queue.ts';
import { incompleteKeys, releaseIncomplete } from './recovery.ts';
import { pluginRoot } from './root.ts';
import { RuntimeKeys } from './runtime-keys.ts';
import { CallServer, type Limits } from './server.ts';
import { keepPrepared } from './spool/keep-prepared.ts';
import { openSpool, startSpool } from './spool/spool.ts';

export interface DaemonOptions {
  readonly log: Logger;
  /** What runs in this process; all that is built in unless told. */
  readonly plugins?: readonly Plugin[];
  readonly limits?: Partial<Limits>;
  /**
   * Milliseconds that calls under way are waited for at the end. Unless told, a little less than the 30 s after which a
   * kubelet kills.
   */
  readonly stopMs?: number;
  /** When what failed for a pod that runs is tried again. */
  readonly live?: Pick<FollowerOptions, 'waits' | 'schedule'>;
}

/** Milliseconds for the last events to reach the API server. */
const flushMs = 2_000;

/** A running daemon. */
export interface Daemon {
  /** Path of the socket that the shim calls. */
  readonly socket: string;
  /** Port of /healthz, /readyz and /metrics. */
  readonly metricsPort: number;
  /** Takes no more calls, ends when those under way have ended or their time is up. What is cut off is in the journal. */
  close(): Promise<void>;
}

/**
 * Starts the daemon of a node. It answers calls when this resolves; pods and networks that it has not listed yet are
 * asked for one by one until then.
 *
 * @throws {Error} saying what is in use by which process, which port is taken, or what is missing from the configuration.
 */
export async function startDaemon(config: DaemonConfig, options: DaemonOptions): Promise<Daemon> {
  const { log, plugins = builtinPlugins, stopMs = 25_000 } = options;
  reportUnused(config, log);
  requireClusterAccess(config);
  await using starting = new AsyncDisposableStack();

  await mkdir(config.stateDir, { recursive: true, mode: 0o700 });
  starting.use(await lockFile(join(config.stateDir, 'daemon.lock'), `stateDir: ${config.stateDir}`));
  const journal = await Journal.open(join(config.stateDir, 'journal'));

  const { nodeName, eventReporter: component } = config;
  const access = config.cluster ? await clusterAccess(config, log, starting) : undefined;
  const queue = new KeyedQueue();
  const cluster = access && new Cluster({ access, nodeName, component, log, turn: () => queue.idle() });
  if (cluster !== undefined) starting.defer(() => cluster.close(flushMs));

  let keeper: ConfigKeeper | undefined;
  const metrics = new Metrics();
  const problems = (): readonly string[] => [...(cluster?.problems() ?? []), ...(keeper?.problems() ?? [])];
  const health = await serveHealth({
    registry: metrics.registry,
    problems,
    port: config.metricsPort,
    address: config.metricsAddress,
  });
  starting.defer(() => closeHealth(health));

  const root = await pluginRoot(config.chrootDir);
  const runner = new Runner({ builtin: plugins, execute: config.executedPlugins, root });
  const stop = new AbortController();
  starting.defer(() => stop.abort());
  const recovery = {
    journal,
    runner,
    path: splitPath(config.binDir),
    queue,
    log,
    report: metrics.attachment.bind(metrics),
  };
  if (plugins.includes(dhcp)) {
    starting.defer(() => dhcpLeases.close());
    await dhcpLeases.resume(log);
  }
  const spool = await openSpool(config, journal, log);
  const incomplete = await incompleteKeys(journal, log);
  const recovered = releaseIncomplete(incomplete, recovery, stop.signal);
  recovered.catch((error: unknown) => log.error({ err: error }, 'recovery'));

  const { overlay } = config;
  const follow = { journal, queue, runner, overlay, log, report: recovery.report, ...options.live };
  const live = cluster && (await startLive(config.stateDir, { ...follow, cluster }));
  if (live !== undefined) starting.defer(() => live.follower.close(stopMs));

  // Calls of single plugins pass by it: one that is executed for a call may need another.
  const gate = config.connectionLimit ? new Gate(config.connectionLimit) : undefined;
  const answer = callAnswerer({
    meta: { journal, runner, cluster, queue, gate, overlay, live, keys: new RuntimeKeys(log) },
    plugins: new Map(plugins.map((plugin) => [plugin.type, plugin])),
    log,
    metrics,
  });
  const { binDir } = config;
  const { signal } = stop;
  const replay = await startSpool(spool, { answer, recovery, live, cluster, overlay, binDir, signal });
  starting.defer(() => replay.close(stopMs));
  metrics.countSpooled(() => replay.waiting);

  const server = await CallServer.listen({
    path: config.socket,
    answer: (request) => answer(request, () => replay.before(request)),
    log,
    ...(options.limits && { limits: options.limits }),
  });
  starting.defer(async () => {
    const ends = [replay.close(stopMs), live?.follower.close(stopMs)];
    const [givenUp] = await Promise.all([server.close(stopMs), ...ends]);
    if (givenUp > 0) log.error({ calls: givenUp }, 'calls had not ended when their time was up');
  });

  // The runtime calls as soon as it has the configuration.
  keeper = await keepCniConfig(config, log);
  starting.defer(() => keeper?.close());
  const prepared = await keepPrepared(config, { cluster, root, runtimeCall: live?.runtimeCall, log });
  starting.defer(() => prepared?.close());
  starting.use(await offerDevices(config, { log, metrics }));

  const running = starting.move();
  const metricsPort = portOf(health);
  log.info(
    { socket: config.socket, metricsPort, node: config.nodeName, plugins: plugins.map(({ type }) => type) },
    'ready',
  );
  let closed: Promise<void> | undefined;
  return {
    socket: config.socket,
    metricsPort,
    close() {
      closed ??= running.disposeAsync().then(() => log.info('ended'));
      return closed;
    },
  };
}

async function closeHealth(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeAllConnections();
  await promise;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
