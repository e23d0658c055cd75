import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { addSandbox } from '../../src/attach/add.ts';
import { resourceNameAnnotation } from '../../src/attach/devices.ts';
import { type AttachmentReport, type ReleaseContext, releaseEntry } from '../../src/attach/release.ts';
import { parseSettings } from '../../src/attach/settings.ts';
import { parseArgs } from '../../src/cni/args.ts';
import type { CniError } from '../../src/cni/error.ts';
import { isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import type { Attachment, Plugin } from '../../src/cni/plugin.ts';
import type { Result } from '../../src/cni/result.ts';
import { Runner } from '../../src/cni/runner.ts';
import { cniVersions } from '../../src/cni/version.ts';
import { Journal } from '../../src/journal/journal.ts';
import type { Pod } from '../../src/kubernetes/schemas.ts';
import { events as eventResource, pods } from '../../src/playground/api/resources.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { type Playground, playground, until } from '../kubernetes/playground.ts';
import { network, pod } from '../playground-api/manifests.ts';
import { ip } from '../plugins/support.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';

/** What the faulty plugin is to do; it succeeds unless told. */
export interface Faults {
  /** What it answers an ADD with; the result of the plugin before it unless told. */
  result?: Result | undefined;
  add?: CniError | undefined;
  delete?: CniError | undefined;
  /** What it tells of its device, in the file that it is given for that. */
  tell?: string | undefined;
}

/** Everything of a node that attaching needs, with one pod in it. */
export interface Node extends AsyncDisposable {
  /** Holds the journal, as a daemon's stateDir does; executed plugins are looked for in it. */
  readonly directory: string;
  readonly api: Playground['api'];
  readonly cluster: Playground['cluster'];
  readonly journal: Journal;
  readonly runner: Runner;
  readonly release: ReleaseContext;
  readonly sandbox: TestNamespace;
  readonly attachment: Attachment;
  readonly pod: Pod;
  readonly faults: Faults;
  readonly reports: readonly AttachmentReport[];
  /** What the plugin `faulty` was given, at each ADD. */
  readonly configs: readonly JsonObject[];
  add(): Promise<Result>;
  /** Attaches another sandbox, for a pod of the same namespace. */
  addAlso(attachment: Attachment, podName: string): Promise<Result>;
  /** DEL from the journal alone, which is all there is of a pod that is gone. */
  remove(netns?: string): Promise<void>;
  /** Reason and message of the pod's events, in order, once there are so many. */
  events(count: number): Promise<string[]>;
  networkStatus(): readonly JsonObject[];
  /** All that an ADD changes: the pod's interfaces, addresses and routes, and what is on disk. */
  state(): Promise<object>;
}

export interface NodeOptions {
  /** The pod's networks annotation. */
  readonly networks?: string;
  /** Its other annotations. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Its namespace and name; default/app unless told. */
  readonly namespace?: string;
  readonly name?: string;
  /** What the administrator sets beside where the default network is, and what takes its place. */
  readonly settings?: JsonObject;
  /** The runtime's own. */
  readonly runtimeConfig?: JsonObject;
  /** spec.config of each NetworkAttachmentDefinition, by its name, or namespace and name where that is not default. */
  readonly definitions?: Readonly<Record<string, JsonObject | string>>;
  /** The resource that a definition names, by the same name. */
  readonly resources?: Readonly<Record<string, string>>;
  /** More of the pod's spec, and its status. */
  readonly pod?: { readonly spec?: JsonObject | undefined; readonly status?: JsonObject | undefined };
  /** The default network's configuration. */
  readonly defaultNetwork?: JsonObject;
}

/** A network that a pod can ask for, by the wire `ens6`; older than the default network is. */
export const macvlan = (ipam: JsonObject, subnet: string, more: JsonObject = {}): JsonObject => ({
  cniVersion: '0.3.0',
  type: 'macvlan',
  master: 'ens6',
  ipam: { ...ipam, subnet },
  ...more,
});

/** A default network as a cluster has it: built in, with its own addresses. */
const clusterNetwork = (ipam: JsonObject): JsonObject => ({
  cniVersion: '1.1.0',
  name: 'cluster-net',
  plugins: [
    { type: 'macvlan', master: 'ens5', ipam: { ...ipam, subnet: '10.244.0.0/24', routes: [{ dst: '0.0.0.0/0' }] } },
  ],
});

/** @param ipam Of a network's configuration: where the addresses of this test are kept. */
export async function startNode(options: (ipam: JsonObject) => NodeOptions): Promise<Node> {
  const directory = await mkdtemp(join(tmpdir(), 'plx-attach-'));
  const dataDir = join(directory, 'networks');
  const ipam = { type: 'host-local', dataDir };
  const { networks, definitions = {}, defaultNetwork = clusterNetwork(ipam), ...rest } = options(ipam);
  const { namespace = 'default', name: podName = 'app', runtimeConfig = {} } = rest;
  const defaultFile = join(directory, '10-default.conflist');
  await writeFile(defaultFile, JSON.stringify(defaultNetwork));

  const annotations = {
    ...rest.annotations,
    ...(networks !== undefined && { 'k8s.v1.cni.cncf.io/networks': networks }),
  };
  const objects = Object.entries(definitions).map(([key, config]) => {
    const [name = '', ns] = key.split('/').toReversed();
    const { metadata, ...object } = network(name, typeof config === 'string' ? config : JSON.stringify(config), ns);
    const resource = rest.resources?.[key];
    const annotations = resource === undefined ? {} : { [resourceNameAnnotation]: resource };
    return { ...object, metadata: { ...metadata, annotations } };
  });
  const ownPod = pod(podName, { namespace, annotations });
  const wholePod = { ...ownPod, spec: { ...ownPod.spec, ...rest.pod?.spec }, status: rest.pod?.status ?? {} };
  const kubernetes = await playground({ objects: [wholePod, ...objects] });
  const { api, cluster } = kubernetes;
  await cluster.ready;

  const journal = await Journal.open(join(directory, 'journal'));
  const faults: Faults = {};
  const configs: JsonObject[] = [];
  const runner = new Runner({ builtin: [...builtinPlugins, faultyPlugin(faults, configs)] });
  const reports: AttachmentReport[] = [];
  const release: ReleaseContext = { journal, runner, path: [directory], report: (report) => reports.push(report) };
  const sandbox = await testNamespace();
  const attachment = {
    containerId: 'sandbox-1',
    netns: sandbox.path,
    ifName: 'eth0',
    args: parseArgs(`IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${podName}`),
    path: [directory],
  };
  const settings = parseSettings(
    {
      clusterNetwork: defaultFile,
      confDir: directory,
      kubeletDir: join(directory, 'kubelet'),
      deviceInfoDir: join(directory, 'devinfo'),
      ...rest.settings,
    },
    'the test',
  );
  const podOfSandbox = await cluster.pod(namespace, podName);
  return {
    directory,
    api,
    cluster,
    journal,
    runner,
    release,
    sandbox,
    attachment,
    pod: podOfSandbox,
    faults,
    reports,
    configs,
    add: () => addSandbox({ attachment, runtimeConfig, settings, cluster, pod: podOfSandbox }, release),
    async addAlso(other, name) {
      const pod = await cluster.pod(namespace, name);
      return addSandbox({ attachment: other, runtimeConfig, settings, cluster, pod }, release);
    },
    async remove(netns = sandbox.path) {
      const entry = await journal.read(attachment);
      if (entry !== undefined) await releaseEntry(attachment, entry, netns, release);
    },
    async events(count) {
      const listed = () => api.store.list(eventResource, namespace);
      await until(() => listed().length >= count);
      return listed().map((event) => `${event['reason']}: ${event['message']}`);
    },
    networkStatus() {
      const { annotations } = api.store.get(pods, namespace, podName).metadata;
      return JSON.parse(annotations?.['k8s.v1.cni.cncf.io/network-status'] ?? '[]');
    },
    async state() {
      return {
        addresses: await ip(sandbox.path, 'address'),
        routes: [...(await ip(sandbox.path, 'route')), ...(await ip(sandbox.path, '-6', 'route'))],
        reserved: await reservedIn(dataDir),
        journal: await journal.list(),
      };
    },
    async [Symbol.asyncDispose]() {
      await sandbox[Symbol.asyncDispose]();
      await kubernetes[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

/** A plugin that does nothing but fail, when it is told to, and keeps what it was given. */
function faultyPlugin(faults: Faults, configs: JsonObject[]): Plugin {
  return {
    type: 'faulty',
    versions: cniVersions,
    async add({ config, prevResult }) {
      configs.push(config);
      const file = isJsonObject(config['runtimeConfig']) ? config['runtimeConfig']['CNIDeviceInfoFile'] : undefined;
      if (faults.tell !== undefined && typeof file === 'string') {
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, faults.tell);
      }
      if (faults.add !== undefined) throw faults.add;
      return faults.result ?? prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} };
    },
    async delete() {
      if (faults.delete !== undefined) throw faults.delete;
    },
    async check() {},
  };
}

/** Addresses that are given away, by network; directories and locks that are left behind hold nothing. */
async function reservedIn(dataDir: string): Promise<string[]> {
  const files = await readdir(dataDir, { recursive: true }).catch(() => []);
  return files.filter((file) => /\/[0-9a-f:]+[.:][0-9a-f.:]*$/.test(file)).sort();
}
