import { setFlagsFromString } from 'node:v8';
import { Command } from 'commander';
import { type DaemonOptions, overridesOf, parsePort, withDaemonOptions } from './options.ts';

/**
 * Threads that wait for the kernel and the disk. A netlink request holds one while somebody's removal of a device keeps
 * rtnl_lock, 20 ms at a time; with Node's four, a few of them would keep every write of the journal waiting as well.
 */
const threads = '16';

/**
 * V8 is tuned for programs that compute. This one waits for the kernel and the disk, and its calls are short: it is told to
 * clean up early (in under a millisecond, or in steps) rather than to let garbage pile up, and not to compile what runs
 * often a second time. After a thousand ADDs that is 88 MB instead of 112, for 0.3 ms of processor time a call.
 */
const v8Flags = ['--semi-space-growth-factor=1', '--heap-growing-percent=10', '--no-opt', '--no-maglev'];

/** Heaps of the C library. With one for each thread, what is freed in one is of no use to the others. */
const arenas = 2;

interface Options extends DaemonOptions {
  readonly metricsPort?: number;
  readonly logLevel?: string;
}

export function daemonCommand(): Command {
  return withDaemonOptions(
    new Command('daemon').description('answer the container runtime of this node, until SIGTERM'),
  )
    .option('--metrics-port <port>', 'of /healthz, /readyz and /metrics on 127.0.0.1; default: 9091', parsePort)
    .option('--log-level <level>', 'debug, verbose, info, warn, error or panic; default: info')
    .addHelpText('after', '\nWhat is given here counts more than what the configuration says.')
    .action(run);
}

async function run(options: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error("plexus daemon changes the node's network: run it as root");
  // Read by libuv when the first thread is needed, which is after this.
  process.env['UV_THREADPOOL_SIZE'] ??= threads;
  for (const flag of v8Flags) setFlagsFromString(flag);
  const { limitArenas } = await import('../linux/libc.ts');
  limitArenas(arenas);
  const { readDaemonConfig } = await import('../daemon/config.ts');
  const { createLog } = await import('../daemon/log.ts');
  const { startDaemon } = await import('../daemon/daemon.ts');

  const config = await readDaemonConfig(options.config, overridesOf(options));
  const { log, reopen, settled } = await createLog(config);
  if (reopen !== undefined) process.on('SIGHUP', reopen);
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'ended by an error that nobody foresaw');
    process.exit(1);
  });
  const daemon = await startDaemon(config, { log });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'ending: no more calls are taken');
      void daemon
        .close()
        .then(settled)
        .then(() => process.exit(0));
    });
  }
}
