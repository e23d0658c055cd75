import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNamedNamespace, deleteNamedNamespace } from '../src/linux/namespace.ts';
import type { KubernetesObject } from '../src/playground/api/object.ts';
import { installAwsCni } from '../src/playground/aws-cni/install.ts';
import { ApiProcess } from './api.ts';
import { cpuOf } from './cpu.ts';
import { DaemonProcess } from './daemon.ts';
import type { CpuPerPod, PodFigures, PodReport } from './pod-report.ts';
import { inParallel, summarise, timed } from './statistics.ts';
import { type Sandbox, Subject } from './subject.ts';

/*
 * The whole pod: from the call of the runtime to its answer, with the default network, one macvlan network of the pod's
 * annotation, and a Kubernetes API that lists, watches and takes what is written. Pods are in the API before they are
 * attached, as in a cluster.
 */

const namespace = 'bench';
const nodeName = 'bench-node';
/** As many as a kubelet allows on a node unless told, all starting together: the node was just started. */
const podsAtOnce = 110;

/** How much is done with a default network. */
interface Effort {
  readonly oneAtATime: number;
  readonly warmUp: number;
  readonly storms: number;
}

const builtinEffort: Effort = { oneAtATime: Number(process.env['BENCH_PODS'] ?? 100), warmUp: 10, storms: 3 };
/** It starts a Node for each pod. */
const executedEffort: Effort = { oneAtATime: 10, warmUp: 2, storms: 1 };

/** @param shim The CNI binary. */
export async function measurePods(directory: string, shim: string, say: (text: string) => void): Promise<PodReport> {
  await using stack = new AsyncDisposableStack();
  const sandboxes: string[] = [];
  stack.defer(async () => {
    for (const each of sandboxes) await deleteNamedNamespace(each);
  });
  for (let i = 0; i < podsAtOnce; i++) sandboxes.push(await createNamedNamespace(`plx-bench-${process.pid}-pod-${i}`));
  const api = stack.use(await ApiProcess.start());
  await api.create([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }, macvlanNetwork(directory)]);

  const files = await writeFiles(directory, shim, api.kubeconfig);
  const daemon = stack.use(await DaemonProcess.start(files.directory, files.daemonConfig));
  const bench = { api, daemon, sandboxes, say, directory: files.directory, plugin: files.plugin };
  const idle = await daemon.residentMemory();
  const builtin = await measure(bench, 'bridge', builtinEffort);
  const memory = { idle, after: await daemon.residentMemory() };
  const executed = await measure(bench, 'aws', executedEffort);
  return { podsAtOnce, storms: builtinEffort.storms, builtin, executed, memory };
}

interface Bench {
  readonly api: ApiProcess;
  readonly daemon: DaemonProcess;
  readonly sandboxes: readonly string[];
  readonly say: (text: string) => void;
  readonly directory: string;
  /** The binary that the runtime executes. */
  readonly plugin: string;
}

async function measure(bench: Bench, network: string, effort: Effort): Promise<PodFigures> {
  const { api, daemon, directory, plugin, say } = bench;
  const calls = join(directory, `${network}.calls`);
  await mkdir(calls);
  // By its file, as the configuration that the daemon generates has it.
  const clusterNetwork = join(directory, `net.d/10-${network}.conflist`);
  const config = { cniVersion: '1.0.0', name: 'plexus', type: 'plexus', clusterNetwork };
  const environment = { CNI_IFNAME: 'eth0', PLEXUS_SOCKET: daemon.socket };
  const subject = await Subject.of(plugin, JSON.stringify(config), calls, environment);
  say(`${effort.oneAtATime} pods with ${network} and a macvlan, one at a time`);
  const oneAtATime = await one(bench, subject, network, effort);
  say(`${podsAtOnce} of them at once`);
  const atOnce = await storms(bench, subject, network, effort.storms);
  await api.deletePods();
  return { oneAtATime, atOnce };
}

async function one(bench: Bench, subject: Subject, network: string, effort: Effort): Promise<PodFigures['oneAtATime']> {
  const pods = await createPods(bench, `${network}-one`, effort.warmUp + effort.oneAtATime);
  const add: number[] = [];
  const del: number[] = [];
  let before = 0;
  let all = 0;
  for (const [index, pod] of pods.entries()) {
    await bench.api.requests();
    const added = await timed(() => subject.call('ADD', pod));
    const answered = now();
    const requests = await settled(bench.api);
    const deleted = await timed(() => subject.call('DEL', pod));
    requests.push(...(await settled(bench.api)));
    if (index < effort.warmUp) continue;
    add.push(added);
    del.push(deleted);
    before += requests.filter(({ at }) => at <= answered).length;
    all += requests.length;
  }
  return {
    add: summarise(add),
    delete: summarise(del),
    requestsBeforeAnswer: before / add.length,
    requests: all / add.length,
  };
}

/** The requests that come, until none has come for a while: events follow the answer. */
async function settled(api: ApiProcess): Promise<Awaited<ReturnType<ApiProcess['requests']>>> {
  const requests = [];
  for (let fresh = await api.requests(), quiet = 0; ; fresh = await api.requests()) {
    requests.push(...fresh);
    quiet = fresh.length === 0 ? quiet + 1 : 0;
    if (quiet === 3) return requests;
    await sleep(5);
  }
}

async function storms(bench: Bench, subject: Subject, network: string, rounds: number): Promise<PodFigures['atOnce']> {
  const { api } = bench;
  const add: number[] = [];
  const del: number[] = [];
  let adding = 0;
  let deleting = 0;
  let requests = 0;
  const cpu: CpuPerPod[] = [];
  for (let round = 0; round < rounds; round++) {
    const pods = await createPods(bench, `${network}-${round}`, podsAtOnce);
    await api.requests();
    const before = await cpuOfAll(bench);
    adding += await timed(() =>
      inParallel(pods, podsAtOnce, async (pod) => {
        add.push(await timed(() => subject.callBeside('ADD', pod)));
      }),
    );
    // Events that follow the answers belong to the pods as well.
    requests += (await settled(api)).length;
    cpu.push(difference(await cpuOfAll(bench), before, podsAtOnce));
    deleting += await timed(() =>
      inParallel(pods, podsAtOnce, async (pod) => {
        del.push(await timed(() => subject.callBeside('DEL', pod)));
      }),
    );
    requests += (await settled(api)).length;
  }
  return {
    podsPerSecond: (add.length / adding) * 1000,
    deletesPerSecond: (del.length / deleting) * 1000,
    add: summarise(add),
    delete: summarise(del),
    requests: requests / add.length,
    cpu: average(cpu),
  };
}

/** Makes pods in the API, and gives watches time to tell the daemon, as it has in a cluster. */
async function createPods({ api, sandboxes }: Bench, prefix: string, count: number): Promise<Sandbox[]> {
  const names = Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
  const uids = await api.create(names.map(podObject));
  await sleep(500);
  return names.map((name, i) => ({
    containerId: name,
    netns: sandboxes[i % sandboxes.length] ?? '',
    args: [
      'IgnoreUnknown=1',
      `K8S_POD_NAMESPACE=${namespace}`,
      `K8S_POD_NAME=${name}`,
      `K8S_POD_INFRA_CONTAINER_ID=${name}`,
      `K8S_POD_UID=${uids[i]}`,
    ].join(';'),
  }));
}

async function cpuOfAll({ api, daemon }: Bench): Promise<CpuPerPod> {
  const [plexus, self, server] = await Promise.all([daemon.cpu(), cpuOf('self'), api.cpu()]);
  return { daemon: plexus.own, executed: plexus.children, shim: self.children, api: server, launcher: self.own };
}

const difference = (after: CpuPerPod, before: CpuPerPod, pods: number): CpuPerPod => ({
  daemon: (after.daemon - before.daemon) / pods,
  executed: (after.executed - before.executed) / pods,
  shim: (after.shim - before.shim) / pods,
  api: (after.api - before.api) / pods,
  launcher: (after.launcher - before.launcher) / pods,
});

function average(all: readonly CpuPerPod[]): CpuPerPod {
  const mean = (value: (each: CpuPerPod) => number): number =>
    all.reduce((sum, each) => sum + value(each), 0) / all.length;
  return {
    daemon: mean((each) => each.daemon),
    executed: mean((each) => each.executed),
    shim: mean((each) => each.shim),
    api: mean((each) => each.api),
    launcher: mean((each) => each.launcher),
  };
}

/** Milliseconds of CLOCK_MONOTONIC, as bench/api-process.ts has them. */
const now = (): number => Number(process.hrtime.bigint()) / 1e6;

/** About as long as one of a small deployment. */
function podObject(name: string): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      labels: { app: 'bench', 'pod-template-hash': '6f7d9c8b5' },
      annotations: { 'k8s.v1.cni.cncf.io/networks': 'bench-macvlan' },
    },
    spec: {
      nodeName,
      serviceAccountName: 'default',
      restartPolicy: 'Always',
      containers: [
        {
          name: 'main',
          image: 'registry.example.org/team/main:1.0.0',
          command: ['sh', '-c', 'trap : TERM INT; sleep infinity & wait'],
          resources: { requests: { cpu: '100m', memory: '64Mi' }, limits: { memory: '128Mi' } },
          volumeMounts: [{ name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true }],
        },
      ],
      volumes: [{ name: 'token', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } }],
    },
  };
}

function macvlanNetwork(directory: string): KubernetesObject {
  const config = {
    cniVersion: '1.0.0',
    name: 'bench-macvlan',
    type: 'macvlan',
    master: 'ens6',
    mode: 'bridge',
    ipam: { type: 'host-local', dataDir: join(directory, 'macvlan.data'), ranges: [[{ subnet: '10.66.0.0/16' }]] },
  };
  return {
    apiVersion: 'k8s.cni.cncf.io/v1',
    kind: 'NetworkAttachmentDefinition',
    metadata: { name: 'bench-macvlan', namespace },
    spec: { config: JSON.stringify(config) },
  };
}

/** What an administrator puts on a node. */
async function writeFiles(parent: string, shim: string, kubeconfig: string) {
  const directory = join(parent, 'pods');
  const at = (name: string): string => join(directory, name);
  for (const path of [directory, at('bin'), at('net.d')]) await mkdir(path);
  const plugin = at('bin/plexus');
  await symlink(shim, plugin);
  await installAwsCni({ binDir: at('bin'), confDir: at('net.d'), dataDir: at('ipamd') });
  const bridge = {
    cniVersion: '1.0.0',
    name: 'bridge',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isDefaultGateway: true,
        ipam: { type: 'host-local', dataDir: at('bridge.data'), ranges: [[{ subnet: '10.65.0.0/16' }]] },
      },
    ],
  };
  await writeFile(at('net.d/10-bridge.conflist'), JSON.stringify(bridge));
  await writeFile(at('kubeconfig'), kubeconfig, { mode: 0o600 });
  const daemonConfig = {
    cluster: true,
    kubeconfig: at('kubeconfig'),
    nodeName,
    cniConfigDir: at('net.d'),
    confDir: at('multus.d'),
    binDir: at('bin'),
  };
  return { directory, plugin, daemonConfig };
}
