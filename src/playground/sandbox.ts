import { randomBytes } from 'node:crypto';
import { decodeResult } from '../cni/convert.ts';
import { CniError, toCniError } from '../cni/error.ts';
import { executePlugin } from '../cni/exec.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import type { PluginConfig } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { Pause } from './pause.ts';

/** Which pod a sandbox is for. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** What a container runtime is told of CNI. */
export interface CniSetup {
  /** The CNI binary of the node's network. */
  readonly plugin: string;
  /** Directories in which plugins are looked for. */
  readonly path: readonly string[];
  /** The node's configuration: of one plugin, as it stands in the first file of the configuration directory. */
  readonly config: PluginConfig;
}

/** Less than the two minutes after which a kubelet gives up. */
const timeoutMs = 110_000;

/**
 * A pod's sandbox as a container runtime makes it: a network namespace with loopback up, held by a pause process, and
 * connected by executing the CNI plugin of the node.
 */
export class Sandbox {
  readonly id: string;
  readonly pod: PodIdentity;
  readonly pause: Pause;
  /** The plugin's answer to ADD. */
  readonly result: Result;
  /** How long ADD took, from the start of the plugin's process to its end. */
  readonly milliseconds: number;
  readonly #cni: CniSetup;
  readonly #prevResult: JsonObject;

  private constructor(id: string, pod: PodIdentity, pause: Pause, cni: CniSetup, added: Added) {
    this.id = id;
    this.pod = pod;
    this.pause = pause;
    this.#cni = cni;
    this.result = added.result;
    this.milliseconds = added.milliseconds;
    this.#prevResult = added.raw;
  }

  /**
   * @throws {CniError} in containerd's words when the plugin failed. As containerd does, DEL was called then, and nothing is
   *   left of the sandbox.
   */
  static async create(pod: PodIdentity, cni: CniSetup): Promise<Sandbox> {
    const id = randomBytes(32).toString('hex');
    await using undo = new AsyncDisposableStack();
    const pause = undo.use(await Pause.start());
    await bringLoopbackUp(pause.netns);
    try {
      const added = await add({ id, pod, netns: pause.netns }, cni);
      undo.move();
      return new Sandbox(id, pod, pause, cni, added);
    } catch (error) {
      const failures = [toCniError(error)];
      await call('DEL', { id, pod, netns: pause.netns }, cni).catch((second: unknown) =>
        failures.push(toCniError(second)),
      );
      throw setupFailure(id, cni.config, failures);
    }
  }

  get netns(): string {
    return this.pause.netns;
  }

  /**
   * Disconnects it and ends its pause process. Of one whose process was killed, the namespace is gone already: the plugin is
   * told so, by an empty CNI_NETNS.
   *
   * @throws {CniError} when the plugin could not release all; the sandbox is as before then, but for what was released.
   */
  async remove(): Promise<void> {
    const netns = this.pause.isRunning ? this.netns : '';
    await call('DEL', { id: this.id, pod: this.pod, netns }, this.#cni, { prevResult: this.#prevResult });
    await this.pause[Symbol.asyncDispose]();
  }
}

/** Whether the node's network would take a pod now, as containerd asks before it calls the node ready. */
export async function networkStatus(cni: CniSetup): Promise<void> {
  await execute(cni, { CNI_COMMAND: 'STATUS', CNI_PATH: cni.path.join(':') }, cni.config);
}

interface Target {
  readonly id: string;
  readonly pod: PodIdentity;
  readonly netns: string;
}

interface Added {
  readonly result: Result;
  /** As the plugin wrote it. DEL gets it back. */
  readonly raw: JsonObject;
  readonly milliseconds: number;
}

async function add(target: Target, cni: CniSetup): Promise<Added> {
  const started = performance.now();
  const stdout = await call('ADD', target, cni);
  const milliseconds = performance.now() - started;
  const source = `result of plugin "${cni.config.type}"`;
  const raw = parseJson(stdout, source);
  const result = decodeResult(raw, cni.config.cniVersion, source);
  return { result, raw: isJsonObject(raw) ? raw : {}, milliseconds };
}

async function call(command: 'ADD' | 'DEL', target: Target, cni: CniSetup, more: JsonObject = {}): Promise<string> {
  const { id, pod, netns } = target;
  const variables = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: netns,
    CNI_IFNAME: 'eth0',
    CNI_PATH: cni.path.join(':'),
    CNI_ARGS: [
      'IgnoreUnknown=1',
      `K8S_POD_NAMESPACE=${pod.namespace}`,
      `K8S_POD_NAME=${pod.name}`,
      `K8S_POD_INFRA_CONTAINER_ID=${id}`,
      `K8S_POD_UID=${pod.uid}`,
    ].join(';'),
  };
  return execute(cni, variables, { ...cni.config, ...more });
}

function execute(cni: CniSetup, variables: Readonly<Record<string, string>>, stdin: JsonValue): Promise<string> {
  const env = { PATH: process.env['PATH'] ?? '', ...variables };
  return executePlugin(cni.plugin, { env, stdin: JSON.stringify(stdin), timeoutMs });
}

async function bringLoopbackUp(netns: string): Promise<void> {
  using namespace = NetworkNamespace.open(netns);
  using netlink = Rtnetlink.open(namespace);
  // LOOPBACK_IFINDEX of include/net/flow.h: the same in every namespace.
  await netlink.run(links.change(1, { up: true }));
}

/** The words of containerd, and inside them of libcni. */
function setupFailure(id: string, { type, name }: PluginConfig, [first, second]: readonly CniError[]): CniError {
  const text = (error: CniError | undefined, verb: string): string =>
    `plugin type="${type}" name="${name}" failed (${verb}): ${error?.message}${error?.details ? `; ${error.details}` : ''}`;
  const teardown = second === undefined ? '' : `; failed to teardown network: ${text(second, 'delete')}`;
  const message = `failed to setup network for sandbox "${id}": ${text(first, 'add')}${teardown}`;
  return new CniError(first?.code ?? 0, message, '', { cause: first });
}
