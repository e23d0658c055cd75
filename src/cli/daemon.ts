import { setFlagsFromString } from 'node:v8';
import { Command, InvalidArgumentError } from 'commander';
import type { JsonObject } from '../cni/json.ts';

/**
 * Threads that wait for the kernel and the disk. A netlink request holds one while somebody's removal of a device keeps
 * rtnl_lock, 20 ms at a time; with Node's four, a few of them would keep every write of the journal waiting as well.
 */
const threads = '16';

/**
 * A daemon has much short-lived garbage and little else. V8 would let the space for it grow to 32 MB before it cleans up;
 * it stays at its first size, 2 MB, which takes under a millisecond to clean.
 */
const heapFlags = '--semi-space-growth-factor=1';

interface Options {
  readonly config?: string;
  readonly kubeconfig?: string;
  readonly cluster: boolean;
  readonly nodeName?: string;
  readonly socketDir?: string;
  readonly stateDir?: string;
  readonly metricsPort?: number;
  readonly logLevel?: string;
}

export function daemonCommand(): Command {
  return new Command('daemon')
    .description('answer the container runtime of this node, until SIGTERM')
    .option('--config <file>', "the daemon's configuration, JSON with the keys of Multus' daemon-config.json")
    .option('--kubeconfig <file>', 'how to reach the Kubernetes API; default: the service account of this pod')
    .option('--no-cluster', 'there is none: every pod gets the default network alone')
    .option('--node-name <name>', "this node's name in Kubernetes; default: the host's")
    .option('--socket-dir <directory>', 'where the shim finds the socket; default: /run/plexus')
    .option('--state-dir <directory>', 'what outlives a restart; default: /var/lib/plexus')
    .option('--metrics-port <port>', 'of /healthz, /readyz and /metrics on 127.0.0.1; default: 9091', parsePort)
    .option('--log-level <level>', 'debug, verbose, info, warn, error or panic; default: info')
    .addHelpText('after', '\nWhat is given here counts more than what the configuration says.')
    .action(run);
}

async function run(options: Options): Promise<void> {
  // Read by libuv when the first thread is needed, which is after this.
  process.env['UV_THREADPOOL_SIZE'] ??= threads;
  setFlagsFromString(heapFlags);
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { createLog } = await import('../daemon/log.ts');
  const { startDaemon } = await import('../daemon/daemon.ts');

  const config = await readDaemonConfig(options.config, overridesOf(options));
  const log = createLog(config.logLevel);
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'ended by an error that nobody foresaw');
    process.exit(1);
  });
  const daemon = await startDaemon(config, { log });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'ending: no more calls are taken');
      void daemon.close().then(() => process.exit(0));
    });
  }
}

/** The keys of the configuration that were given as options. */
function overridesOf({ config: _, cluster, ...given }: Options): JsonObject {
  return { ...given, ...(!cluster && { cluster }) };
}

function parsePort(text: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a number.');
}
