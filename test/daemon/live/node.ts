import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { CniError } from '../../../src/cni/error.ts';
import type { JsonObject } from '../../../src/cni/json.ts';
import type { Plugin } from '../../../src/cni/plugin.ts';
import { cniVersions } from '../../../src/cni/version.ts';
import { callDaemon } from '../../../src/daemon/client.ts';
import { readDaemonConfig } from '../../../src/daemon/config.ts';
import { type Daemon, type DaemonOptions, startDaemon } from '../../../src/daemon/daemon.ts';
import type { Answer } from '../../../src/daemon/frame.ts';
import type { Schedule } from '../../../src/daemon/live/followed.ts';
import type { Entry } from '../../../src/journal/entry.ts';
import { Journal } from '../../../src/journal/journal.ts';
import type { StoredObject } from '../../../src/playground/api/object.ts';
import { events as eventResource, networkAttachmentDefinitions, pods } from '../../../src/playground/api/resources.ts';
import { type Api, startApi } from '../../../src/playground/api/server.ts';
import { builtinPlugins } from '../../../src/plugins/builtin.ts';
import { network, pod } from '../../playground-api/manifests.ts';
import { ip } from '../../plugins/support.ts';
import { testDirectory } from '../../support/directory.ts';
import { type TestNamespace, testNamespace } from '../../support/namespace.ts';
import { keptLog, type LogLine } from '../log.ts';

const networksAnnotation = 'k8s.v1.cni.cncf.io/networks';
const statusAnnotation = 'k8s.v1.cni.cncf.io/network-status';

/** What the plugin `faulty` is to do; it succeeds unless told. */
export interface Faults {
  add?: CniError | undefined;
  delete?: CniError | undefined;
  /** What ADD waits for. */
  hold?: Promise<void> | undefined;
  /** Told that ADD has begun. */
  began?: (() => void) | undefined;
}

/** A sandbox as a runtime has it, and its pod. */
export interface Sandbox {
  readonly name: string;
  readonly namespace: TestNamespace;
  readonly uid: string;
}

/** A daemon with a cluster, and what plays the runtime and the user. */
export interface LiveNode extends AsyncDisposable {
  readonly api: Api;
  readonly directory: string;
  readonly lines: readonly LogLine[];
  readonly faults: Faults;
  readonly daemon: Daemon;
  /** Milliseconds of the waits that were asked for, in order. */
  readonly waits: readonly number[];
  /** Lets time pass for all that waits. */
  passTime(): void;
  /** Makes a pod, and attaches it as a runtime does. */
  addPod(networks?: string, name?: string, config?: JsonObject): Promise<Sandbox>;
  /** Makes a pod that no runtime calls for. */
  createPod(name: string, networks?: string, spec?: JsonObject): void;
  call(command: string, sandbox: Sandbox, config?: JsonObject): Promise<Answer>;
  /** Says what a pod asks for; undefined removes the annotation. */
  annotate(networks: string | undefined, name?: string): void;
  /** What a pod asks for. */
  annotation(name?: string): string | undefined;
  define(name: string, config: JsonObject): void;
  /** Begins to delete a pod: its containers are told to end. */
  terminate(name?: string): void;
  /** Deletes a pod as a cluster does, without its sandbox. */
  deletePod(name?: string): void;
  status(name?: string): z.infer<typeof statusSchema>;
  /** Waits until network-status has these interfaces, in order. */
  has(interfaces: readonly string[], name?: string): Promise<void>;
  /** Reason and message of all events, in order, once this many are there. */
  events(count: number): Promise<string[]>;
  links(sandbox: Sandbox): Promise<string[]>;
  /** What the journal has. */
  entry(sandbox: Sandbox): Promise<Entry | undefined>;
  /** Addresses that are given away, and entries of the journal. */
  held(): Promise<{ readonly reserved: string[]; readonly journal: string[] }>;
  stop(): Promise<void>;
  start(): Promise<void>;
}

const statusSchema = z.array(
  z.looseObject({
    name: z.string(),
    interface: z.string(),
    ips: z.array(z.string()).default([]),
    mac: z.string().optional(),
    gateway: z.array(z.string()).optional(),
  }),
);

export interface LiveOptions {
  /** spec.config of each NetworkAttachmentDefinition, by its name. */
  readonly definitions?: (ipam: JsonObject) => Readonly<Record<string, JsonObject>>;
  /** What the administrator sets. */
  readonly config?: JsonObject;
  readonly options?: Partial<DaemonOptions>;
}

export const macvlan = (ipam: JsonObject, subnet: string, more: JsonObject = {}): JsonObject => ({
  cniVersion: '1.0.0',
  type: 'macvlan',
  master: 'ens6',
  ipam: { ...ipam, subnet },
  ...more,
});

/** The process must be a node already, with ens5 and ens6. */
export async function startLiveNode({
  definitions = () => ({}),
  config = {},
  options = {},
}: LiveOptions = {}): Promise<LiveNode> {
  const directory = await testDirectory();
  const at = (name: string): string => join(directory.path, name);
  const ipam = { type: 'host-local', dataDir: at('networks') };
  for (const name of ['net.d', 'bin']) await mkdir(at(name));
  const cluster = {
    cniVersion: '1.1.0',
    name: 'cluster-net',
    plugins: [
      { type: 'macvlan', master: 'ens5', ipam: { ...ipam, subnet: '10.244.0.0/24', routes: [{ dst: '0.0.0.0/0' }] } },
    ],
  };
  await writeFile(at('net.d/10-default.conflist'), JSON.stringify(cluster));
  const objects = Object.entries(definitions(ipam)).map(([name, each]) => network(name, JSON.stringify(each)));
  const api = await startApi({ objects });
  await writeFile(at('kubeconfig'), api.kubeconfig());
  const daemonConfig = await readDaemonConfig(undefined, {
    socketDir: at('run'),
    stateDir: at('state'),
    cniConfigDir: at('net.d'),
    binDir: at('bin'),
    kubeconfig: at('kubeconfig'),
    nodeName: 'node-1',
    metricsPort: 0,
    ...config,
  });
  const { log, lines } = keptLog();
  const faults: Faults = {};
  const clock = stoppedClock();
  const plugins = [...builtinPlugins, faultyPlugin(faults)];
  const start = (): Promise<Daemon> =>
    startDaemon(daemonConfig, { log, plugins, live: { schedule: clock.schedule }, ...options });
  let daemon = await start();
  const sandboxes: Sandbox[] = [];

  const createPod = (name: string, networks?: string, spec: JsonObject = {}): void => {
    const made = pod(name, { annotations: networks === undefined ? {} : { [networksAnnotation]: networks } });
    api.store.create({ ...made, spec: { ...made.spec, ...spec } });
  };
  const call = (command: string, { name, namespace, uid }: Sandbox, more: JsonObject = {}): Promise<Answer> => {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: `sandbox-${name}`,
      CNI_NETNS: namespace.path,
      CNI_IFNAME: 'eth0',
      CNI_PATH: at('bin'),
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name};K8S_POD_UID=${uid}`,
    };
    const stdin = { cniVersion: '1.1.0', name: 'plexus', type: 'plexus', clusterNetwork: 'cluster-net', ...more };
    return callDaemon(daemon.socket, { name: 'plexus', env, stdin: JSON.stringify(stdin) }, 60_000);
  };
  const podOf = (name: string): StoredObject => api.store.get(pods, 'default', name);
  const annotate = (networks: string | undefined, name = 'app'): void => {
    const now = podOf(name);
    const { [networksAnnotation]: _, ...others } = now.metadata.annotations ?? {};
    const annotations = { ...others, ...(networks !== undefined && { [networksAnnotation]: networks }) };
    api.store.update({ ...now, metadata: { ...now.metadata, annotations } });
  };
  const status = (name = 'app') =>
    statusSchema.parse(JSON.parse(podOf(name).metadata.annotations?.[statusAnnotation] ?? '[]'));
  const listed = () => api.store.list(eventResource, 'default');
  return {
    api,
    directory: directory.path,
    lines,
    faults,
    get daemon() {
      return daemon;
    },
    waits: clock.waits,
    passTime: clock.pass,
    createPod,
    async addPod(networks, name = 'app', more = {}) {
      createPod(name, networks);
      const sandbox = { name, namespace: await testNamespace(), uid: podOf(name).metadata.uid };
      sandboxes.push(sandbox);
      const { exitStatus, stdout } = await call('ADD', sandbox, more);
      if (exitStatus !== 0) throw new Error(stdout);
      return sandbox;
    },
    call,
    annotate,
    annotation: (name = 'app') => podOf(name).metadata.annotations?.[networksAnnotation],
    define: (name, each) => void api.store.create(network(name, JSON.stringify(each))),
    terminate(name = 'app') {
      const now = podOf(name);
      const deletionTimestamp = new Date().toISOString();
      api.store.update({ ...now, metadata: { ...now.metadata, deletionTimestamp } });
    },
    deletePod: (name = 'app') => void api.store.delete(pods, 'default', name),
    status,
    async has(interfaces, name = 'app') {
      await eventually(() => status(name).map((each) => each.interface), interfaces);
    },
    async events(number) {
      await eventually(() => listed().length >= number, true);
      return listed().map((event) => `${event['reason']}: ${event['message']}`);
    },
    async links({ namespace }) {
      const all = await ip(namespace.path, 'link');
      return all.map(({ ifname }) => String(ifname)).filter((name) => name !== 'lo');
    },
    entry: ({ name }) => {
      return Journal.look(at('state/journal')).read({ containerId: `sandbox-${name}`, ifName: 'eth0' });
    },
    async held() {
      const files = await readdir(at('networks'), { recursive: true }).catch(() => []);
      const reserved = files.filter((name) => /\/[0-9a-f:]+[.:][0-9a-f.:]*$/.test(name)).sort();
      return { reserved, journal: await readdir(at('state/journal')) };
    },
    stop: () => daemon.close(),
    async start() {
      daemon = await start();
    },
    async [Symbol.asyncDispose]() {
      await daemon.close();
      for (const { namespace } of sandboxes) await namespace[Symbol.asyncDispose]();
      await api.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

export const undefine = (node: LiveNode, name: string): void =>
  void node.api.store.delete(networkAttachmentDefinitions, 'default', name);

/** A clock that stands until it is told. */
function stoppedClock(): { schedule: Schedule; waits: number[]; pass: () => void } {
  const waits: number[] = [];
  let waiting: (() => void)[] = [];
  return {
    waits,
    schedule(milliseconds, call) {
      waits.push(milliseconds);
      waiting.push(call);
      return () => {
        waiting = waiting.filter((each) => each !== call);
      };
    },
    pass() {
      const due = waiting;
      waiting = [];
      for (const each of due) each();
    },
  };
}

/** Longer than anything takes that works: a test that waits in vain is to fail, not to hang. */
const patience = 20_000;

/** Waits until something is as expected. @throws {Error} when it never is. */
export async function eventually<T>(found: () => T | Promise<T>, expected: T): Promise<void> {
  const deadline = performance.now() + patience;
  for (;;) {
    const now = await found();
    if (isDeepStrictEqual(now, expected)) return;
    if (performance.now() > deadline) {
      throw new Error(`waited in vain for ${JSON.stringify(expected)}; there is ${JSON.stringify(now)}`);
    }
    await sleep(5);
  }
}

/** A plugin that does nothing but fail, or wait, when it is told to. */
function faultyPlugin(faults: Faults): Plugin {
  return {
    type: 'faulty',
    versions: cniVersions,
    async add({ prevResult }) {
      faults.began?.();
      await faults.hold;
      if (faults.add !== undefined) throw faults.add;
      return prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} };
    },
    async delete() {
      if (faults.delete !== undefined) throw faults.delete;
    },
    async check() {},
  };
}
