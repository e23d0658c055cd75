import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { resourceNameAnnotation } from '../../src/attach/devices.ts';
import type { JsonObject } from '../../src/cni/json.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
import { installAwsCni } from '../../src/playground/aws-cni/install.ts';
import { playground } from '../kubernetes/playground.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { ip } from '../plugins/support.ts';
import { giveDevice, resource } from '../support/device.ts';
import { buildShim, buildSteppingShim } from '../support/shim.ts';

const root = resolve(import.meta.dirname, '../..');

/** A node with one pod that asks for a second network, whose daemon can be killed at any step. */
export interface CrashingNode extends AsyncDisposable {
  /** Starts the daemon, and waits until it answers. @param killAt The step at which it ends. */
  start(killAt?: number): Promise<void>;
  /** Ends the daemon in an orderly way, if it still runs. */
  stop(): Promise<void>;
  /** Whether the daemon has ended by itself. */
  readonly killed: boolean;
  /** One call of the runtime, through the shim. @param killAt The step at which the shim ends. */
  call(
    command: 'ADD' | 'DEL',
    netns: string,
    killAt?: number,
  ): Promise<{ readonly status: number | null; readonly stdout: string }>;
  /** Reasons and messages of the pod's events. */
  events(): string[];
  /** Says what the pod asks for. */
  annotate(networks: string): void;
  /** Networks of the pod's network-status. */
  status(): string[];
  /** Whether the journal has the whole ADD, so that only its answer was lost. */
  isComplete(): Promise<boolean>;
  /** Waits until nothing that the shim left waits any more. What never becomes so fails the test by its time limit. */
  spoolEmpty(): Promise<void>;
  /** Fulfilled once the daemon has ended. */
  ended(): Promise<void>;
  /** All that an ADD may hold: the pod's interfaces, addresses given away, files about devices, entries of the journal. */
  held(netns: string): Promise<{ links: unknown[]; reserved: string[]; journal: string[] }>;
}

export interface CrashingOptions {
  /** The default network is executed, and pods get it alone while there is no daemon. */
  readonly alone?: boolean;
}

export async function crashingNode({ alone = false }: CrashingOptions = {}): Promise<CrashingNode> {
  const shim = alone ? await buildSteppingShim() : await buildShim();
  const directory = await mkdtemp(join(tmpdir(), 'plx-crash-'));
  const dataDir = join(directory, 'networks');
  const ipam = { type: 'host-local', dataDir };
  const second = { cniVersion: '0.3.1', type: 'macvlan', master: 'ens6', ipam: { ...ipam, subnet: '10.1.0.0/24' } };
  const { metadata, ...definition } = network('net-a', JSON.stringify(second));
  const kubernetes = await playground({
    objects: [
      pod('app', { annotations: { 'k8s.v1.cni.cncf.io/networks': 'net-a' } }),
      { ...definition, metadata: { ...metadata, annotations: { [resourceNameAnnotation]: resource } } },
      network('net-b', JSON.stringify({ ...second, ipam: { ...ipam, subnet: '10.2.0.0/24' } })),
    ],
  });
  const { uid } = kubernetes.api.store.get(pods, 'default', 'app').metadata;
  const file = (name: string) => join(directory, name);
  const write = (name: string, content: JsonObject) => writeFile(file(name), JSON.stringify(content));
  await writeFile(file('kubeconfig'), kubernetes.api.kubeconfig());
  await write('10-default.conflist', {
    cniVersion: '1.1.0',
    name: 'cluster-net',
    plugins: [{ type: 'macvlan', master: 'ens5', ipam: { ...ipam, subnet: '10.244.0.0/24' } }],
  });
  await write('daemon.json', {
    socketDir: file('run'),
    stateDir: file('state'),
    kubeconfig: file('kubeconfig'),
    nodeName: 'node-1',
    metricsPort: 0,
    clusterNetwork: file('10-default.conflist'),
    ...(await giveDevice(directory, uid)),
    ...(alone && {
      clusterNetwork: file('net.d/10-aws.conflist'),
      binDir: file('bin'),
      whenDaemonIsDown: 'default-network-only',
    }),
  });
  if (alone) {
    const [binDir, confDir] = [file('bin'), file('net.d')];
    for (const path of [binDir, confDir]) await mkdir(path);
    await installAwsCni({ binDir, confDir, dataDir });
  }
  const configuration = {
    cniVersion: alone ? '0.4.0' : '1.1.0',
    name: 'plexus',
    type: 'plexus',
    socketDir: file('run'),
    spoolDir: file('state/spool'),
  };

  let daemon: ChildProcess | undefined;
  const hasEnded = () => daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null;
  const stop = async (): Promise<void> => {
    if (daemon === undefined || hasEnded()) return;
    daemon.kill('SIGTERM');
    await once(daemon, 'exit');
  };
  return {
    get killed() {
      return daemon?.signalCode === 'SIGKILL';
    },

    async start(killAt = 0) {
      const main = ['--import', join(import.meta.dirname, 'kill.ts'), join(root, 'src/cli/main.ts')];
      daemon = spawn(process.execPath, [...main, 'daemon', '--config', file('daemon.json')], {
        env: { ...process.env, KILL_AT_STEP: String(killAt) },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      await untilReady(daemon);
    },

    stop,

    events: () => {
      const all = kubernetes.api.store.list(events);
      return all.map((event) => `${event['reason']}: ${event['message']}`);
    },

    async call(command, netns, killAt = 0) {
      const child = spawn(shim, [], {
        argv0: 'plexus',
        env: {
          PATH: process.env['PATH'],
          PLEXUS_KILL_AT_STEP: String(killAt),
          CNI_COMMAND: command,
          CNI_CONTAINERID: 'sandbox-1',
          CNI_NETNS: netns,
          CNI_IFNAME: 'eth0',
          CNI_PATH: '/opt/cni/bin',
          CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=app${alone ? `;K8S_POD_UID=${uid}` : ''}`,
          PLEXUS_CONNECT_SECONDS: '0',
        },
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      child.stdin.end(JSON.stringify(configuration));
      let stdout = '';
      child.stdout.on('data', (chunk: Buffer) => {
        stdout += chunk;
      });
      await once(child, 'close');
      if (daemon !== undefined && stdout.includes('"code": 11') && !hasEnded()) await once(daemon, 'exit');
      return { status: child.exitCode, stdout };
    },

    annotate(networks) {
      const { store } = kubernetes.api;
      const now = store.get(pods, 'default', 'app');
      const annotations = { ...now.metadata.annotations, 'k8s.v1.cni.cncf.io/networks': networks };
      store.update({ ...now, metadata: { ...now.metadata, annotations } });
    },

    status() {
      const { annotations } = kubernetes.api.store.get(pods, 'default', 'app').metadata;
      const status = JSON.parse(annotations?.['k8s.v1.cni.cncf.io/network-status'] ?? '[]');
      return z
        .array(z.looseObject({ name: z.string() }))
        .parse(status)
        .map(({ name }) => name);
    },

    async isComplete() {
      const names = await readdir(join(directory, 'state/journal'));
      const entries = await Promise.all(names.map((name) => readFile(join(directory, 'state/journal', name), 'utf8')));
      return entries.some((entry) => entry.includes('"step":"complete"'));
    },

    async spoolEmpty() {
      while ((await readdir(file('state/spool'))).some((name) => name.includes(':'))) await sleep(10);
    },

    async ended() {
      if (daemon !== undefined && !hasEnded()) await once(daemon, 'exit');
    },

    async held(netns) {
      const links = (await ip(netns, 'link')).map(({ ifname }) => ifname).filter((name) => name !== 'lo');
      const files = await readdir(dataDir, { recursive: true }).catch(() => []);
      const reserved = files.filter((name) => /\/[0-9a-f:]+[.:][0-9a-f.:]*$/.test(name)).sort();
      reserved.push(...(await readdir(file('devinfo/cni')).catch(() => [])));
      return { links, reserved, journal: await readdir(join(directory, 'state/journal')) };
    },

    async [Symbol.asyncDispose]() {
      await stop();
      await kubernetes[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

/** Follows the daemon's log until it says that it is ready; it may be killed before that. */
async function untilReady(daemon: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let log = '';
  daemon.stderr?.on('data', (chunk: Buffer) => {
    log += chunk;
    if (log.includes('"msg":"ready"')) resolve();
  });
  daemon.once('exit', () => reject(new Error(`the daemon ended before it was ready:\n${log}`)));
  await promise;
}
