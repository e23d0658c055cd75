import { join } from 'node:path';
import { z } from 'zod';
import { releaseEntry } from '../../attach/release.ts';
import { splitPath } from '../../cni/invocation.ts';
import type { JsonObject } from '../../cni/json.ts';
import { Runner } from '../../cni/runner.ts';
import { callDaemon } from '../../daemon/client.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { InUseError, lockFile } from '../../daemon/lock.ts';
import type { Entry } from '../../journal/entry.ts';
import { Journal } from '../../journal/journal.ts';
import { builtinPlugins } from '../../plugins/builtin.ts';
import { checkRuntime } from '../doctor/runtime.ts';
import { journalDirectory } from '../sandboxes.ts';

/** Releases what sandboxes hold whose namespaces are gone. */
export interface Releaser extends AsyncDisposable {
  /** @throws {Error} naming what is still held, and why. */
  release(entry: Entry): Promise<void>;
}

/** Milliseconds for one DEL; executed plugins may take two minutes each. */
const answerMs = 300_000;

/**
 * The daemon, where one runs: it alone knows what else goes on. Where none does, this process in its place, which keeps a
 * daemon from starting meanwhile.
 */
export async function openReleaser(config: DaemonConfig): Promise<Releaser> {
  let lock: AsyncDisposable;
  try {
    lock = await lockFile(join(config.stateDir, 'daemon.lock'), `stateDir: ${config.stateDir}`);
  } catch (error) {
    if (error instanceof InUseError) return throughDaemon(config);
    throw error;
  }
  return inItsPlace(config, lock);
}

async function throughDaemon(config: DaemonConfig): Promise<Releaser> {
  const runtime = await checkRuntime(config);
  // What is in the journal is released from it alone. The rest is to satisfy a daemon that expects a runtime's configuration.
  const stdin = { name: 'plexus', type: 'plexus', clusterNetwork: 'default', ...runtime.config, cniVersion: '1.1.0' };
  return {
    async release({ plan: { containerId, ifName, args } }) {
      const env = {
        CNI_COMMAND: 'DEL',
        CNI_CONTAINERID: containerId,
        CNI_IFNAME: ifName,
        CNI_NETNS: '',
        CNI_ARGS: args,
        CNI_PATH: config.binDir,
      };
      const request = { name: 'plexus', env, stdin: JSON.stringify(stdin) };
      const { exitStatus, stdout } = await callDaemon(config.socket, request, answerMs);
      if (exitStatus !== 0) throw new Error(messageIn(stdout));
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** Of a CNI error; else the answer as it is. */
export function messageIn(stdout: string): string {
  const error = z.object({ msg: z.string() }).safeParse(asJson(stdout));
  return error.success ? error.data.msg : stdout;
}

function asJson(text: string): JsonObject | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function inItsPlace(config: DaemonConfig, lock: AsyncDisposable): Promise<Releaser> {
  const journal = await Journal.open(journalDirectory(config));
  const runner = new Runner({ builtin: builtinPlugins, execute: config.executedPlugins });
  const context = { journal, runner, path: splitPath(config.binDir), report: () => {} };
  return {
    async release({ plan }) {
      // What it was read as may have been released by the daemon that has ended since.
      const entry = await journal.read(plan);
      if (entry !== undefined) await releaseEntry(plan, entry, '', context);
    },
    [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose](),
  };
}
