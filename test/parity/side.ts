import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/cni/json.ts';
import { compareVersions } from '../../src/cni/version.ts';
import { testDirectory } from '../support/directory.ts';
import { type CallStep, defaultVersion, nodeOf, type ParityCase, type Step } from './case.ts';
import { type DhcpService, startDhcp } from './dhcp-service.ts';
import { Names } from './names.ts';
import { type Environment, ip, networkNamespace, type ParityNode } from './node.ts';
import { type Scene, snapshot } from './snapshot.ts';

/** What a call answered, without what is its node's own. */
export interface Outcome {
  /** The result, or the error's code and version. */
  readonly answer: JsonObject;
  /** The answer as it was printed: keys have an order, too. */
  readonly printed: string;
  /** The error's. */
  readonly message: string | undefined;
  /** All that could be seen after it. */
  readonly seen: JsonValue;
}

/** A case on one of the twins, with a pod and a directory of its own. */
export class Side implements AsyncDisposable {
  readonly #node: ParityNode;
  readonly #scene: Scene;
  readonly #case: ParityCase;
  readonly #names: Names;
  /** In the place of /sys; '' for none. */
  readonly #sys: string;
  readonly #dhcp: DhcpService | undefined;
  readonly #stack: AsyncDisposableStack;
  /** The results of ADD, by container and interface. */
  readonly #results = new Map<string, JsonValue>();

  private constructor(
    node: ParityNode,
    scene: Scene,
    parityCase: ParityCase,
    sys: string,
    dhcp: DhcpService | undefined,
    stack: AsyncDisposableStack,
  ) {
    this.#node = node;
    this.#scene = scene;
    this.#case = parityCase;
    this.#sys = sys;
    this.#dhcp = dhcp;
    this.#stack = stack;
    const given = JSON.stringify([parityCase, nodeOf(parityCase)]);
    this.#names = new Names({ '<node>': scene.node, '<pod>': scene.pod, '<data>': scene.data }, given);
  }

  static async prepare(node: ParityNode, parityCase: ParityCase): Promise<Side> {
    await using stack = new AsyncDisposableStack();
    const pod = stack.use(await networkNamespace());
    const data = stack.use(await testDirectory());
    const sys = parityCase.sys === undefined ? '' : stack.use(await testDirectory()).path;
    await makeTree(sys, parityCase.sys ?? {});
    const scene = { node: node.path, pod: pod.path, data: data.path };
    await ip(pod.path, ownWords(scene, parityCase.pod ?? []));
    const dhcp = parityCase.dhcp && stack.use(await startDhcp(scene, parityCase.dhcp));
    return new Side(node, scene, parityCase, sys, dhcp, stack.move());
  }

  /** @returns undefined for a step that is no call. */
  async take(step: Step): Promise<Outcome | undefined> {
    if ('node' in step) await ip(this.#scene.node, ownWords(this.#scene, step.node));
    else if ('pod' in step) await ip(this.#scene.pod, ownWords(this.#scene, step.pod));
    else if ('files' in step) await this.#write(step.files);
    else return this.#call(step);
    return undefined;
  }

  async #write(files: Readonly<Record<string, string>>): Promise<void> {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.#scene.data, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, content, { mode: 0o600 });
    }
  }

  async #call(step: CallStep): Promise<Outcome> {
    const { call, id = 'c1', ifName = 'net1', args = '', netns = '<pod>' } = step;
    const attachment = `${id} ${ifName}`;
    const env: Environment = {
      CNI_COMMAND: call,
      CNI_CONTAINERID: id,
      CNI_IFNAME: ifName,
      CNI_ARGS: args,
      CNI_NETNS: this.#own(netns),
    };
    const { failed, stdout } = await this.#node.call(
      this.#case.plugin,
      env,
      this.#own(this.#configOf(step, attachment)),
      this.#sys,
    );
    const printed: unknown = stdout === '' ? {} : JSON.parse(stdout);
    if (!isJsonObject(printed)) throw new Error(`${call} printed no JSON object: ${stdout}`);
    // What is told has names that are known by what is seen.
    const seen = await this.see();
    const text = this.#names.text(stdout).trim();
    if (failed) {
      const { code, cniVersion, msg, details = '' } = printed;
      return {
        answer: { error: { code, ...(cniVersion !== undefined && { cniVersion }) } },
        printed: text,
        message: `${msg} ${details}`,
        seen,
      };
    }
    if (call === 'ADD') this.#results.set(attachment, printed);
    return { answer: { result: this.#names.value(printed) }, printed: text, message: undefined, seen };
  }

  #configOf({ call, config = {} }: CallStep, attachment: string): string {
    const whole: JsonObject = {
      cniVersion: defaultVersion,
      name: 'test-net',
      type: this.#case.plugin,
      ...this.#case.config,
      ...config,
    };
    const ipam: unknown = whole['ipam'];
    const files = isJsonObject(ipam) && ipam['type'] === 'host-local' && { ipam: { dataDir: '<data>', ...ipam } };
    const result = this.#results.get(attachment);
    const hasResult =
      call !== 'ADD' && result !== undefined && compareVersions(String(whole['cniVersion']), '0.4.0') >= 0;
    return JSON.stringify({ ...whole, ...files, ...(hasResult && { prevResult: result }) });
  }

  #own(text: string): string {
    return own(this.#scene, text);
  }

  /** All that can be seen. */
  async see(): Promise<JsonValue> {
    const seen = await snapshot(this.#scene, this.#names);
    return this.#dhcp === undefined || !isJsonObject(seen) ? seen : { ...seen, dhcp: await this.#dhcp.leases() };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** A text of the case, with the paths of this node. */
const own = ({ node, pod, data }: Scene, text: string): string =>
  text.replaceAll('<node>', node).replaceAll('<pod>', pod).replaceAll('<data>', data);

const ownWords = (scene: Scene, commands: readonly string[]): readonly string[] =>
  commands.map((command) => own(scene, command));

async function makeTree(root: string, tree: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, target] of Object.entries(tree)) {
    const at = join(root, path);
    await mkdir(target === '' ? at : dirname(at), { recursive: true });
    if (target !== '') await symlink(target, at);
  }
}
