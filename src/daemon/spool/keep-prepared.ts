import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CniError, ErrorCode, toCniError } from '../../cni/error.ts';
import type { Root } from '../../cni/exec.ts';
import type { JsonObject } from '../../cni/json.ts';
import type { Cluster } from '../../kubernetes/cluster.ts';
import { removeFile, writeAtomically } from '../../linux/atomic-file.ts';
import { versionFor } from '../cni-config/compose.ts';
import { findMaster } from '../cni-config/master.ts';
import type { DaemonConfig } from '../config.ts';
import type { RuntimeCall } from '../live/runtime-call.ts';
import type { Logger } from '../log.ts';
import { spoolDirectory } from './directory.ts';
import { prepareDefaultNetwork } from './prepare.ts';
import { encodePrepared, type Prepared, preparedName } from './prepared.ts';

export interface KeepOptions {
  /** The spool. */
  readonly directory: string;
  /** Says what the shim needs, and throws where that cannot be said. */
  readonly prepare: () => Promise<Prepared>;
  readonly log: Logger;
  /** Milliseconds between looks at what it is made from. */
  readonly pollMs?: number;
}

export interface PreparedContext {
  readonly cluster: Cluster | undefined;
  readonly root: Root | undefined;
  /** How the runtime calls, where that is known. */
  readonly runtimeCall: RuntimeCall | undefined;
  readonly log: Logger;
}

/**
 * Keeps prepared what pods are to get while the daemon is down, by the choice of the administrator.
 *
 * @returns undefined where they are to wait.
 */
export async function keepPrepared(
  config: DaemonConfig,
  context: PreparedContext,
): Promise<PreparedKeeper | undefined> {
  const directory = spoolDirectory(config);
  if (config.whenDaemonIsDown === 'wait') {
    await removePrepared(directory);
    return undefined;
  }
  const { cluster, root, runtimeCall, log } = context;
  const prepare = async (): Promise<Prepared> => {
    const sent = await sentConfig(config, runtimeCall);
    const { cniVersion } = sent;
    return prepareDefaultNetwork({
      config: { ...sent, ...config.overlay },
      cniVersion: typeof cniVersion === 'string' ? cniVersion : undefined,
      cluster,
      root,
    });
  };
  return PreparedKeeper.start({ directory, prepare, log });
}

/** What the runtime sends: what the daemon writes for it, or what it last sent; empty where neither is known. */
async function sentConfig(config: DaemonConfig, runtimeCall: RuntimeCall | undefined): Promise<JsonObject> {
  const { multusConfigFile, multusAutoconfigDir, cniConfigDir, multusMasterCNI, wishes } = config;
  if (multusConfigFile !== 'auto') return runtimeCall?.current?.config ?? {};
  const master = await findMaster(multusAutoconfigDir ?? cniConfigDir, multusMasterCNI);
  return { cniVersion: versionFor(master.list.cniVersion, master.path, wishes), clusterNetwork: master.path };
}

/** Takes away what was prepared for pods to start while the daemon is down: they wait then. */
export const removePrepared = (directory: string): Promise<void> => removeFile(join(directory, preparedName));

/**
 * Keeps prepared what the shim needs to attach pods to their default network while the daemon is down. Where that cannot be
 * said, it is taken away, and pods wait: they must not get what is configured no more.
 */
export class PreparedKeeper {
  readonly #options: KeepOptions;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> = Promise.resolve();
  #problem: string | undefined;
  #isWritten = false;

  private constructor(options: KeepOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#look(), options.pollMs ?? 10_000).unref();
  }

  /** Fulfilled after a first look, whatever that found. */
  static async start(options: KeepOptions): Promise<PreparedKeeper> {
    const keeper = new PreparedKeeper(options);
    await keeper.#look();
    return keeper;
  }

  /** Looks no more. What is prepared stays: it is for the time after this. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }

  #look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#write());
    return this.#looking;
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    const { directory, prepare, log } = this.#options;
    const file = join(directory, preparedName);
    try {
      const prepared = await prepare();
      const bytes = encodePrepared(prepared);
      const before = await readFile(file).catch(() => undefined);
      if (before?.equals(bytes) !== true) await writeAtomically(file, bytes);
      this.#problem = undefined;
      if (this.#isWritten && before?.equals(bytes)) return;
      this.#isWritten = true;
      log.info(
        { file, network: prepared.network.source, plugins: prepared.plugins.map(({ path }) => path) },
        'whenDaemonIsDown: pods will start with the default network only',
      );
    } catch (error) {
      const { message } = toCniError(error);
      // The API server is away, and nothing says that what was prepared holds no more.
      const isForNow = error instanceof CniError && error.code === ErrorCode.TryAgainLater;
      if (!isForNow) await removePrepared(directory).catch(() => {});
      if (message === this.#problem) return;
      this.#problem = message;
      this.#isWritten = false;
      log.warn(
        { file },
        `whenDaemonIsDown: "default-network-only" cannot be honoured, and pods would wait: ${message}`,
      );
    }
  }
}
