import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JsonObject } from '../../src/cni/json.ts';
import type { Plugin } from '../../src/cni/plugin.ts';
import { emptyResult } from '../../src/cni/result.ts';
import { cniVersions } from '../../src/cni/version.ts';
import { decodeAnswer, encodeRequest } from '../../src/daemon/client.ts';
import { readDaemonConfig } from '../../src/daemon/config.ts';
import { type Daemon, type DaemonOptions, startDaemon } from '../../src/daemon/daemon.ts';
import type { Answer } from '../../src/daemon/frame.ts';
import { testDirectory } from '../support/directory.ts';
import { keptLog, type LogLine } from './log.ts';
import { exchange } from './wire.ts';

export interface Call {
  readonly command: string;
  /** The name that the shim is called under. */
  readonly as?: string;
  readonly sandbox?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Over the configuration of the meta-plugin. */
  readonly config?: JsonObject;
  /** Instead of a configuration. */
  readonly stdin?: string;
}

export interface Node extends AsyncDisposable {
  readonly daemon: Daemon;
  readonly directory: string;
  readonly lines: readonly LogLine[];
  call(call: Call): Promise<Answer>;
  /** Ends the daemon and starts it anew on the same directories. @param meanwhile What is done while there is none. */
  restart(options?: Partial<DaemonOptions>, meanwhile?: () => Promise<void>): Promise<void>;
}

/** What the runtime sends; its default network is one plugin of the type given. */
const metaConfig = { cniVersion: '1.1.0', name: 'plexus', type: 'plexus', clusterNetwork: 'default' };

/**
 * A daemon without a cluster, whose default network is one plugin, `fake` unless told, and which has the plugins given.
 *
 * @param config Keys over the test's own; undefined leaves one of those out.
 */
export async function startNode(
  options: Partial<DaemonOptions> = {},
  config: JsonObject = {},
  type = 'fake',
): Promise<Node> {
  const directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  for (const name of ['net.d', 'bin']) await mkdir(at(name));
  const network = { cniVersion: '1.1.0', name: 'default', plugins: [{ type }] };
  await writeFile(at('net.d/10-default.conflist'), JSON.stringify(network));
  const { log, lines } = keptLog();
  const own = {
    socketDir: at('run'),
    stateDir: at('state'),
    cniConfigDir: at('net.d'),
    binDir: at('bin'),
    cluster: false,
    metricsPort: 0,
    ...config,
  };
  const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
  const daemonConfig = await readDaemonConfig(undefined, given);
  let daemon = await startDaemon(daemonConfig, { log, ...options });
  return {
    get daemon() {
      return daemon;
    },
    directory: directory.path,
    lines,
    async call({ command, as = 'plexus', sandbox = 'c1', env = {}, config: change = {}, stdin }) {
      const variables = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: sandbox,
        CNI_NETNS: `/run/netns/plx-none-${sandbox}`,
        CNI_IFNAME: 'eth0',
        CNI_PATH: '/nowhere',
        ...env,
      };
      const input = stdin ?? JSON.stringify({ ...metaConfig, ...change });
      return decodeAnswer(await exchange(daemon.socket, encodeRequest({ name: as, env: variables, stdin: input })));
    },
    async restart(again = options, meanwhile) {
      await daemon.close();
      await meanwhile?.();
      daemon = await startDaemon(daemonConfig, { log, ...again });
    },
    async [Symbol.asyncDispose]() {
      await daemon.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** A plugin that waits where it is told to, and writes down what began and ended. */
export interface SlowPlugin extends Plugin {
  readonly steps: readonly string[];
  /** Lets everything that waits go on, and all that comes. */
  open(): void;
  /** Fulfilled once so many calls have begun. */
  began(count: number): Promise<void>;
}

export function slowPlugin(type = 'fake'): SlowPlugin {
  const steps: string[] = [];
  const gate = Promise.withResolvers<void>();
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  let begun = 0;
  const run = async (command: string, containerId: string): Promise<void> => {
    steps.push(`${command} ${containerId} begins`);
    begun++;
    for (const { count, resolve } of waiting) if (begun >= count) resolve();
    await gate.promise;
    steps.push(`${command} ${containerId} ends`);
  };
  return {
    type,
    versions: cniVersions,
    steps,
    open: gate.resolve,
    began(count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (begun >= count) resolve();
      waiting.push({ count, resolve });
      return promise;
    },
    async add({ attachment }) {
      await run('ADD', attachment.containerId);
      return { ...emptyResult, interfaces: [{ name: attachment.ifName }] };
    },
    async delete({ attachment }) {
      await run('DEL', attachment.containerId);
    },
    async check({ attachment }) {
      await run('CHECK', attachment.containerId);
    },
    async gc() {
      await run('GC', '');
    },
  };
}
