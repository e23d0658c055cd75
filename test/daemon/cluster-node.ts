import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import { decodeAnswer, encodeRequest } from '../../src/daemon/client.ts';
import { readDaemonConfig } from '../../src/daemon/config.ts';
import { startDaemon } from '../../src/daemon/daemon.ts';
import type { Answer } from '../../src/daemon/frame.ts';
import { networkStatusAnnotation } from '../../src/kubernetes/status.ts';
import { type KubernetesObject, textAt } from '../../src/playground/api/object.ts';
import { events, pods } from '../../src/playground/api/resources.ts';
import { until } from '../kubernetes/playground.ts';
import type { Running, Server } from '../kubernetes/server.ts';
import { network } from '../playground-api/manifests.ts';
import { ip } from '../plugins/support.ts';
import { testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { keptLog, type LogLine } from './log.ts';
import { exchange } from './wire.ts';

/** One call of the runtime for a sandbox of the pod default/app. */
export interface SandboxCall {
  readonly sandbox?: TestNamespace;
  readonly containerId?: string;
  /** K8S_POD_UID; a runtime that gives none, unless told. */
  readonly uid?: string;
}

/** All that an ADD may leave. */
export interface Held {
  readonly links: readonly string[];
  readonly addresses: readonly string[];
  readonly journal: readonly string[];
}

/** A daemon whose cluster has the pod default/app and the network net-a, and a sandbox of that pod. */
export interface ClusterNode extends AsyncDisposable {
  readonly proxy: Running['proxy'];
  readonly admin: Running['admin'];
  readonly lines: readonly LogLine[];
  readonly sandbox: TestNamespace;
  /** What a network of this node is like: a macvlan with a subnet of its own. */
  network(name: string, subnet: string): KubernetesObject;
  call(command: 'ADD' | 'DEL', call?: SandboxCall): Promise<Answer>;
  held(sandbox?: TestNamespace): Promise<Held>;
  /** The pod's network-status, its interfaces with their MAC and IP addresses. */
  status(): Promise<readonly string[]>;
  /** The interfaces that the sandbox really has, in the same form. */
  interfaces(sandbox?: TestNamespace): Promise<readonly string[]>;
  /** Reason and message of the pod's events. */
  events(): Promise<readonly string[]>;
}

/** @param pod The pod default/app. The node needs the wires ens5 and ens6. */
export async function startClusterNode(server: Server, pod: KubernetesObject): Promise<ClusterNode> {
  await using starting = new AsyncDisposableStack();
  const directory = starting.use(await testDirectory());
  const file = (name: string): string => join(directory.path, name);
  const dataDir = file('networks');
  const macvlan = (master: string, subnet: string): JsonObject => ({
    type: 'macvlan',
    master,
    ipam: { type: 'host-local', dataDir, subnet },
  });
  const networkOf = (name: string, subnet: string): KubernetesObject =>
    network(name, JSON.stringify({ cniVersion: '1.1.0', ...macvlan('ens6', subnet) }));
  const running = starting.use(await server.start([pod, networkOf('net-a', '10.1.0.0/24')]));
  const { admin, proxy } = running;
  await writeFile(file('kubeconfig'), kubeconfig(proxy.url));
  const clusterNetwork = { cniVersion: '1.1.0', name: 'cluster-net', plugins: [macvlan('ens5', '10.244.0.0/24')] };
  await writeFile(file('10-default.conflist'), JSON.stringify(clusterNetwork));
  await mkdir(file('bin'));
  const config = await readDaemonConfig(undefined, {
    socketDir: file('run'),
    stateDir: file('state'),
    binDir: file('bin'),
    cniConfigDir: directory.path,
    kubeconfig: file('kubeconfig'),
    nodeName: 'node-1',
    metricsPort: 0,
    clusterNetwork: file('10-default.conflist'),
  });
  const { log, lines } = keptLog();
  const daemon = await startDaemon(config, { log });
  starting.defer(() => daemon.close());
  const sandbox = starting.use(await testNamespace());
  // Listed, and followed from there on.
  await until(() => proxy.watches === 2);
  const ended = starting.move();
  return {
    proxy,
    admin,
    lines,
    sandbox,
    network: networkOf,
    async call(command, { sandbox: own = sandbox, containerId = 'sandbox-1', uid } = {}) {
      const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=app${uid ? `;K8S_POD_UID=${uid}` : ''}`;
      const env = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: containerId,
        CNI_NETNS: own.path,
        CNI_IFNAME: 'eth0',
        CNI_PATH: '/nowhere',
        CNI_ARGS: args,
      };
      const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'plexus', type: 'plexus' });
      return decodeAnswer(await exchange(daemon.socket, encodeRequest({ name: 'plexus', env, stdin })));
    },
    async held(own = sandbox) {
      const links = (await ip(own.path, 'link')).map(({ ifname }) => String(ifname)).filter((name) => name !== 'lo');
      const files = await readdir(dataDir, { recursive: true }).catch(() => []);
      const addresses = files.filter((name) => /\/[0-9a-f:]+[.:][0-9a-f.:]*$/.test(name)).sort();
      return { links, addresses, journal: await readdir(file('state/journal')) };
    },
    async status() {
      const { annotations } = (await admin.get(pods, 'default', 'app')).metadata;
      const entries: unknown = JSON.parse(annotations?.[networkStatusAnnotation] ?? '[]');
      return Array.isArray(entries) ? entries.filter(isJsonObject).map(statusLine) : [];
    },
    async interfaces(own = sandbox) {
      const found = await ip(own.path, 'address');
      return found.filter(({ ifname }) => ifname !== 'lo').map(interfaceLine);
    },
    async events() {
      const listed = await admin.list(events);
      return listed.map((event) => `${textAt(event, 'reason')}: ${textAt(event, 'message')}`);
    },
    [Symbol.asyncDispose]: () => ended.disposeAsync(),
  };
}

function statusLine(entry: JsonObject): string {
  const { interface: name, mac, ips } = entry;
  return [name, mac, ...(Array.isArray(ips) ? ips : [])].join(' ');
}

function interfaceLine({ ifname, address, addr_info: all }: JsonObject): string {
  const own = Array.isArray(all) ? all.filter(isJsonObject).filter(({ scope }) => scope === 'global') : [];
  return [ifname, address, ...own.map(({ local }) => local)].join(' ');
}

function kubeconfig(server: string): string {
  return stringify({
    clusters: [{ name: 'c', cluster: { server } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    users: [{ name: 'u', user: {} }],
    'current-context': 'x',
  });
}
