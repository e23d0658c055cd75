import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkpointFile, podResourcesSocket } from '../kubelet/pod-devices.ts';
import { Access } from '../kubernetes/access.ts';
import { Client } from '../kubernetes/client.ts';
import { Events } from '../kubernetes/events.ts';
import type { Log } from '../kubernetes/log.ts';
import type { NetworkNamespace } from '../linux/namespace.ts';
import { formatIP, parsePrefix } from '../net/ip.ts';
import { type Api, startApi } from './api/server.ts';
import { installAwsCni } from './aws-cni/install.ts';
import { DaemonProcess } from './daemon.ts';
import { NodeDevices } from './devices.ts';
import { Kubelet } from './kubelet.ts';
import { PlaygroundNode } from './node.ts';
import { nodeObject } from './pod-status.ts';
import type { CniSetup } from './sandbox.ts';
import { nodeAddress } from './vpc.ts';

export interface PlaygroundOptions {
  readonly nodeName: string;
  /** The CNI binary. */
  readonly shim: string;
  /** How this program is called, without a command: the path of node, and so on. */
  readonly plexus: readonly string[];
  /** Devices that pods can request: ids by resource. */
  readonly devices?: ReadonlyMap<string, readonly string[]> | undefined;
  /** @see KubeletOptions.retryAfter */
  readonly retryAfter?: number;
  /** Whether the cluster has the webhook. */
  readonly webhook?: boolean;
}

/**
 * A cluster of one node: an embedded API, a node in a network namespace, the Plexus daemon in that, a scheduler and a
 * kubelet. Pods that appear in the API are attached as on a real node, through the CNI binary. Disposing of it releases
 * and removes everything; when this process is killed, the kernel does.
 */
export interface Playground extends AsyncDisposable {
  readonly nodeName: string;
  /** All files are in it. */
  readonly directory: string;
  /** A file for kubectl on this machine. */
  readonly kubeconfig: string;
  /** The daemon's log. */
  readonly logFile: string;
  readonly api: Api;
  readonly node: PlaygroundNode;
  readonly daemon: DaemonProcess;
  readonly kubelet: Kubelet;
}

/** Where else the machine may have plugins, which its network can be tried with: upstream's place, and Debian's. */
const machinePlugins = ['/opt/cni/bin', '/usr/lib/cni'];

const hostIP = formatIP(parsePrefix(nodeAddress).ip);

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** @throws {Error} when something of it cannot be started; nothing is left then. */
export async function startPlayground({
  nodeName,
  shim,
  plexus,
  devices,
  retryAfter,
  webhook = false,
}: PlaygroundOptions): Promise<Playground> {
  await using starting = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'plexus-run-'));
  starting.defer(() => rm(directory, { recursive: true, force: true }));
  const node = starting.use(await PlaygroundNode.start(directory));
  const api = starting.use(await startApi({ secret: randomBytes(24).toString('base64url') }));
  const inNode = starting.use(serveInside(node.namespace, api));

  const { kubeconfig, configFile, cni } = await writeFiles({ directory, nodeName, shim, api, apiPort: inNode.port });
  const access = Access.kubeconfig(kubeconfig);
  const client = starting.use(new Client(access));
  const eventsOf = (component: string): Events => new Events({ client, log: silent, component, nodeName });
  const schedulerEvents = eventsOf('default-scheduler');
  const kubeletEvents = eventsOf('kubelet');
  starting.defer(() => schedulerEvents.close(0));
  starting.defer(() => kubeletEvents.close(0));

  const logFile = join(directory, 'plexus.log');
  const daemon = starting.use(
    await DaemonProcess.start({ plexus, namespace: node.namespace, configFile, logFile, directory }),
  );
  await daemon.ready(cni);
  api.store.create(nodeObject(nodeName, hostIP, nodeInfo));
  const nodeDevices = new NodeDevices(devices ?? new Map());
  if (devices !== undefined && devices.size > 0) starting.use(await tellDevices(directory, nodeDevices));
  const kubelet = starting.use(
    new Kubelet({
      store: api.store,
      nodeName,
      hostIP,
      cni,
      devices: nodeDevices,
      schedulerEvents,
      kubeletEvents,
      retryAfter,
    }),
  );
  if (webhook) {
    const { servePlaygroundWebhook } = await import('./webhook.ts');
    starting.use(await servePlaygroundWebhook(access, silent));
  }
  const running = starting.move();
  return {
    nodeName,
    directory,
    kubeconfig,
    logFile,
    api,
    node,
    daemon,
    kubelet,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** Tells the daemon which devices pods have, as kubelet does. gRPC is loaded for it. */
async function tellDevices(directory: string, devices: NodeDevices): Promise<AsyncDisposable> {
  const { servePodResources } = await import('./pod-resources.ts');
  return servePodResources(podResourcesSocket(kubeletDirOf(directory)), () => devices.resources());
}

const kubeletDirOf = (directory: string): string => join(directory, 'kubelet');

/**
 * Lets the node reach the API: at any address of its namespace, on a port of its own. Sockets stay bound to the namespace
 * in which they were made, which is at once where no host name has to be looked up.
 */
function serveInside(namespace: NetworkNamespace, api: Api): Disposable & { readonly port: number } {
  const server = createServer((connection) => api.serve(connection));
  namespace.run(() => server.listen(0));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the API has no port in the node');
  return {
    port: address.port,
    // Connections that were accepted are the API's to close.
    [Symbol.dispose]: () => void server.close(),
  };
}

interface FileOptions {
  readonly directory: string;
  readonly nodeName: string;
  readonly shim: string;
  readonly api: Api;
  /** The API's port in the node. */
  readonly apiPort: number;
}

/** What an administrator puts on a node, and a kubeconfig. */
async function writeFiles({ directory, nodeName, shim, api, apiPort }: FileOptions) {
  const at = (name: string): string => join(directory, name);
  const [binDir, confDir] = [at('bin'), at('net.d')];
  await Promise.all([mkdir(binDir), mkdir(confDir)]);
  await symlink(shim, join(binDir, 'plexus'));
  await installAwsCni({ binDir, confDir, dataDir: at('ipamd') });

  const socketDir = at('run');
  const config = { cniVersion: '1.1.0', name: 'plexus', type: 'plexus', socketDir, spoolDir: at('state/spool') };
  const cni: CniSetup = { plugin: join(binDir, 'plexus'), path: [binDir, ...machinePlugins], config };
  await writeJson(join(confDir, '00-plexus.conf'), config);

  const configFile = at('plexus.json');
  await writeJson(configFile, {
    socketDir,
    stateDir: at('state'),
    kubeconfig: at('node.kubeconfig'),
    nodeName,
    clusterNetwork: 'aws-cni',
    cniConfigDir: confDir,
    confDir: at('multus.d'),
    binDir,
    kubeletDir: kubeletDirOf(directory),
    deviceInfoDir: at('devinfo'),
    metricsPort: 0,
  });
  // Where no pod has devices, kubelet tells so.
  await mkdir(dirname(checkpointFile(kubeletDirOf(directory))), { recursive: true });
  await writeJson(checkpointFile(kubeletDirOf(directory)), { Data: { PodDeviceEntries: [], RegisteredDevices: {} } });
  const kubeconfig = at('kubeconfig');
  await writeFile(at('node.kubeconfig'), api.kubeconfig(`http://127.0.0.1:${apiPort}`), { mode: 0o600 });
  await writeFile(kubeconfig, api.kubeconfig(), { mode: 0o600 });
  return { kubeconfig, configFile, cni };
}

function writeJson(file: string, value: object): Promise<void> {
  return writeFile(file, `${JSON.stringify(value, undefined, 2)}\n`);
}

/** What `kubectl get nodes -o wide` shows. */
const nodeInfo = {
  kubeletVersion: 'plexus-playground',
  kernelVersion: release(),
  osImage: 'playground',
  containerRuntimeVersion: 'playground',
  operatingSystem: 'linux',
  architecture: process.arch === 'x64' ? 'amd64' : process.arch,
};
