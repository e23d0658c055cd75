import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildShim } from '../support/shim.ts';

const options = { timeout: 120_000 };

const repository = resolve(import.meta.dirname, '../..');

/** A directory that `plexus run` puts its files under, and the start of it. */
async function setUp() {
  await buildShim();
  const directory = await mkdtemp(join(tmpdir(), 'plx-run-'));
  const children: ChildProcess[] = [];
  return {
    directory,
    start(...args: readonly string[]): Running {
      const env = { ...process.env, TMPDIR: directory };
      const command = [join(repository, 'bin/plexus'), 'run', ...args];
      const child = spawn(process.execPath, command, { cwd: repository, env, stdio: ['ignore', 'pipe', 'pipe'] });
      children.push(child);
      return new Running(child);
    },
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill('SIGKILL');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

class Running {
  readonly process: ChildProcess;
  stdout = '';
  stderr = '';

  constructor(child: ChildProcess) {
    this.process = child;
    child.stdout?.on('data', (chunk: Buffer) => {
      this.stdout += chunk.toString();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  /** @returns The exit status, or the signal. */
  async end(): Promise<unknown> {
    const [status, signal]: unknown[] = await once(this.process, 'close');
    return status ?? signal;
  }

  async printed(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.stdout)) {
      assert.equal(this.process.exitCode, null, this.stderr);
      await sleep(20);
    }
  }

  /** The namespaces that it told of, as /proc names them. */
  async namespaces(): Promise<string[]> {
    const pids = [...this.stdout.matchAll(/--net=\/proc\/(\d+)\//g)].map(([, pid]) => pid);
    return Promise.all(pids.map((pid) => readlink(`/proc/${pid}/ns/net`)));
  }
}

/** Processes that are in one of these network namespaces. */
async function processesIn(namespaces: readonly string[]): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const own = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/ns/net`).catch(() => '')));
  return pids.filter((_, index) => namespaces.includes(own[index] ?? ''));
}

/** Processes that a run has started, itself and those of those included: they have its environment. */
async function processesOf(directory: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  const environments = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')));
  return pids.filter((_, index) => environments[index]?.split('\0').includes(`TMPDIR=${directory}`));
}

/** What the machine's own namespace has. */
async function machineState(): Promise<string> {
  const { promise, resolve: done } = Promise.withResolvers<string>();
  const commands = 'ip -o link; ip route show table all; ip -6 route show table all; ip rule';
  execFile('sh', ['-c', commands], (_error, stdout) => done(stdout));
  return promise;
}

test('plexus run shows what becomes of each pod, and leaves nothing', options, async () => {
  await using it = await setUp();
  const running = it.start('-f', 'examples/macvlan.yaml', '--node', 'node-7');
  assert.equal(await running.end(), 0, running.stderr);
  const { stdout } = running;

  assert.match(
    stdout,
    /^networkattachmentdefinition\.k8s\.cni\.cncf\.io\/macvlan-conf-1 created\npod\/left created\n/m,
  );
  assert.match(stdout, /^Pod default\/left: Running, ready 1\/1, IP 10\.20\.139\.27$/m);
  const events = [
    'Normal  Scheduled +\\d+s +default-scheduler  Successfully assigned default/left to node-7',
    'Normal  AddedInterface +\\d+s +multus +Add eth0 \\[10\\.20\\.139\\.27/32\\] from aws-cni',
    'Normal  AddedInterface +\\d+s +multus +Add net1 \\[192\\.168\\.10\\.100/24 fd00:10::100/64\\] from default/macvlan-conf-1',
  ];
  assert.match(stdout, new RegExp(`^${events.map((line) => `  ${line}`).join('\n')}$`, 'm'));
  assert.match(
    stdout,
    /"name": "default\/macvlan-conf-1",\n +"interface": "net1",\n +"ips": \[\n +"192\.168\.10\.100",/,
  );
  assert.match(stdout, /^ +macvlan mode bridge /m);
  assert.match(stdout, /^ +inet 192\.168\.10\.101\/24 brd 192\.168\.10\.255 scope global net1$/m);
  assert.match(
    stdout,
    /^ {2}│ net1 {2}192\.168\.10\.100\/24 {2}├── macvlan bridge ──┤ ens6 +├────┤ 192\.168\.10\.0\/24 +│$/m,
  );
  assert.match(stdout, /^ {2}eth0 +aws-cni +aws-cni \(executed\) +[\d.]+ ms$/m);
  assert.match(stdout, /^ {2}net1 +default\/macvlan-conf-1 +macvlan +[\d.]+ ms$/m);
  assert.equal(running.stderr, '');
  assert.deepEqual(await readdir(it.directory), []);
});

test('the other examples that need no ipvlan run as well', options, async () => {
  await using it = await setUp();
  const running = it.start('-f', 'examples/two-networks.yaml', 'examples/bridge.yaml');
  assert.equal(await running.end(), 0, running.stdout + running.stderr);
  assert.match(running.stdout, /│ data0 {2}10\.50\.0\.7\/24 +├── macvlan bridge ──┤ ens6 /);
  assert.match(running.stdout, /│ sig0 {3}fd00:20::2\/64 +├── macvlan bridge ──┤ ens7 /);
  assert.match(
    running.stdout,
    /│ lan0 {2}172\.30\.0\.2\/24 +├── veth ──┤ veth\w+ ── plx0 +├────┤ 172\.30\.0\.0\/24 +│/,
  );
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
  test(`of plexus run --keep, nothing is left after ${signal}`, options, async () => {
    await using it = await setUp();
    const before = await machineState();
    const running = it.start('-f', 'examples/macvlan.yaml', '--keep');
    await running.printed(/It stays up until Ctrl-C.*plexus\.log/s);
    const namespaces = await running.namespaces();
    assert.equal(new Set(namespaces).size, 3, 'two pods and the node');
    // The daemon, the node's pause process, which is two, and those of the pods.
    const processes = await processesIn(namespaces);
    assert.equal(processes.length, 5);
    const own = await processesOf(it.directory);
    assert.deepEqual(
      processes.filter((pid) => !own.includes(pid)),
      [],
    );
    assert.deepEqual((await readdir(it.directory)).length, 1);

    const ended = running.end();
    running.process.kill(signal);
    assert.equal(await ended, signal === 'SIGKILL' ? 'SIGKILL' : 0, running.stderr);
    // By their environment: the number of a namespace that is gone is given to the next one, which may be another test's.
    const left = async () => [...(await processesOf(it.directory)), ...(await readdir(it.directory))];
    // After SIGKILL it is the kernel that cleans up, and the pause process of the node: at once, but behind us.
    if (signal === 'SIGKILL') while ((await left()).length > 0) await sleep(10);
    assert.deepEqual(await left(), []);
    assert.equal(await machineState(), before);
    assert.equal(existsSync('/var/lib/cni/networks/macvlan-conf-1'), false);
  });
}

for (const moment of [/^Node /, /^pod\/left created$/m, /^Pod default\/left/m]) {
  test(`of a run that is killed when it has printed ${moment}, nothing is left`, options, async () => {
    await using it = await setUp();
    const running = it.start('-f', 'examples/macvlan.yaml');
    await running.printed(moment);
    const ended = running.end();
    running.process.kill('SIGKILL');
    await ended;
    while ((await processesOf(it.directory)).length > 0 || (await readdir(it.directory)).length > 0) await sleep(10);
  });
}

const network = (config: object): string =>
  JSON.stringify({
    apiVersion: 'k8s.cni.cncf.io/v1',
    kind: 'NetworkAttachmentDefinition',
    metadata: { name: 'net-a' },
    spec: { config: JSON.stringify({ cniVersion: '1.0.0', ...config }) },
  });

const pod = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'a', annotations: { 'k8s.v1.cni.cncf.io/networks': 'net-a' } },
  spec: { containers: [{ name: 'main', image: 'example.org/main:1' }] },
});

test(
  'a pod that cannot be attached is told of as a kubelet tells, with the reason, and fails the run',
  options,
  async () => {
    await using it = await setUp();
    const file = join(it.directory, 'manifests.yaml');
    await writeFile(file, `${pod}\n---\n${network({ type: 'macvlan', master: 'ens9' })}\n`);
    const running = it.start('-f', file);
    assert.equal(await running.end(), 1, running.stderr);
    assert.match(running.stdout, /^Pod default\/a: Pending, ready 0\/1$/m);
    assert.match(running.stdout, /^ {2}Warning {2}FailedAddingInterface +\d+s +multus .*master "ens9" not found/m);
    assert.match(
      running.stdout,
      /^ {2}Warning {2}FailedCreatePodSandBox +\d+s +kubelet +Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "[0-9a-f]{64}": plugin type="plexus" name="plexus" failed \(add\): .*master "ens9" not found/m,
    );
    assert.deepEqual(await readdir(it.directory), ['manifests.yaml']);
  },
);

const mistakes: Readonly<Record<string, readonly [text: string, message: RegExp]>> = {
  'a file without pods': [
    network({ type: 'macvlan' }),
    /^plexus: no Pod in \S+manifests\.yaml: there is nothing to attach\n$/,
  ],
  'a kind that is not served': [
    '{ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "a" } }',
    /^plexus: \S+manifests\.yaml, document 1: apiVersion, kind: expected one of .*, found apps\/v1 Deployment\n$/,
  ],
  'a file that is not YAML': ['a: [', /^plexus: \S+manifests\.yaml, document 1: /],
};

for (const [what, [text, message]] of Object.entries(mistakes)) {
  test(`${what} is refused before anything is made`, options, async () => {
    await using it = await setUp();
    const file = join(it.directory, 'manifests.yaml');
    await writeFile(file, text);
    const running = it.start('-f', file);
    assert.equal(await running.end(), 1);
    assert.match(running.stderr, message);
    assert.equal(running.stdout, '');
  });
}

test(
  'with the webhook, pods request the devices of their networks, and networks that cannot work are refused',
  options,
  async () => {
    await using it = await setUp();
    const config = { cniVersion: '1.0.0', type: 'macvlan', master: 'ens6', capabilities: { deviceID: true } };
    const manifests = async (name: string, more: object): Promise<string> => {
      const annotations = { 'k8s.v1.cni.cncf.io/resourceName': 'intel.com/sriov' };
      const file = join(it.directory, `${name}.json`);
      const network = {
        apiVersion: 'k8s.cni.cncf.io/v1',
        kind: 'NetworkAttachmentDefinition',
        metadata: { name: 'fast', annotations },
        spec: { config: JSON.stringify({ ...config, ...more }) },
      };
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'a', annotations: { 'k8s.v1.cni.cncf.io/networks': 'fast' } },
        spec: { containers: [{ name: 'main', image: 'a' }] },
      };
      await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [network, pod] }));
      return file;
    };
    const good = ['-f', await manifests('good', {}), '--device', 'intel.com/sriov=vf-1'];
    const running = it.start(...good, '--webhook');
    assert.equal(await running.end(), 0, running.stderr);
    assert.match(running.stdout, /^Pod default\/a: Running/m);
    assert.equal(await it.start(...good).end(), 1, 'without it, the pod has no device');

    const refused = it.start('-f', await manifests('bad', { mode: 'brigde' }), '--webhook');
    assert.equal(await refused.end(), 1);
    assert.equal(
      refused.stderr,
      'plexus: admission webhook "networks.webhook.plexus" denied the request: network "fast": mode: expected bridge, private, vepa or passthru, found "brigde"\n',
    );
  },
);
