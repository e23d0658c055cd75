import { formatArgs } from './args.ts';
import { addBuiltin, checkBuiltin, deleteBuiltin, gcBuiltin, statusBuiltin } from './builtin.ts';
import { decodeResult } from './convert.ts';
import { CniError, ErrorCode } from './error.ts';
import { executePlugin, findPlugin, type Root } from './exec.ts';
import type { Environment } from './invocation.ts';
import { isJsonArray, isJsonObject } from './json.ts';
import { parseJson } from './parse-json.ts';
import type { Attachment, Plugin, PluginConfig, PluginRunner } from './plugin.ts';
import type { Result } from './result.ts';
import { type Command, newestVersion } from './version.ts';

export interface RunnerOptions {
  readonly builtin: readonly Plugin[];
  /** Types to execute although they are built in. */
  readonly execute?: readonly string[];
  /** What executed plugins inherit; its own CNI_* are left out. Default: this process's environment. */
  readonly environment?: Environment;
  /** How long an executed plugin may take, in milliseconds. Default: 2 minutes, which is less than kubelet waits. */
  readonly timeoutMs?: number;
  /** What executed plugins have as their root, the directories that they are looked for in included. Default: this process's. */
  readonly root?: Root | undefined;
}

/** Runs a plugin in this process where it is built in, and executes it from the CNI directories where it is not. */
export class Runner implements PluginRunner {
  readonly #builtin: ReadonlyMap<string, Plugin>;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #timeoutMs: number;
  readonly #root: Root | undefined;

  constructor(options: RunnerOptions) {
    const executed = new Set(options.execute);
    const builtin = options.builtin.filter((plugin) => !executed.has(plugin.type));
    this.#builtin = new Map(builtin.map((plugin) => [plugin.type, plugin]));
    this.#environment = withoutCni(options.environment ?? process.env);
    this.#timeoutMs = options.timeoutMs ?? 120_000;
    this.#root = options.root;
  }

  async add(config: PluginConfig, attachment: Attachment): Promise<Result> {
    const plugin = this.#builtin.get(config.type);
    if (plugin !== undefined) return addBuiltin(plugin, config, attachment, this);
    const stdout = await this.#execute(config, 'ADD', attachment.path, variablesOf(attachment));
    const source = `result of plugin "${config.type}"`;
    return decodeResult(parseJson(stdout, source), config.cniVersion, source);
  }

  async delete(config: PluginConfig, attachment: Attachment): Promise<void> {
    const plugin = this.#builtin.get(config.type);
    if (plugin !== undefined) return deleteBuiltin(plugin, config, attachment, this);
    await this.#execute(config, 'DEL', attachment.path, variablesOf(attachment));
  }

  async check(config: PluginConfig, attachment: Attachment): Promise<void> {
    const plugin = this.#builtin.get(config.type);
    if (plugin !== undefined) return checkBuiltin(plugin, config, attachment, this);
    await this.#execute(config, 'CHECK', attachment.path, variablesOf(attachment));
  }

  async status(config: PluginConfig, path: readonly string[]): Promise<void> {
    const plugin = this.#builtin.get(config.type);
    if (plugin !== undefined) return statusBuiltin(plugin, { config, path, plugins: this });
    await this.#execute(config, 'STATUS', path);
  }

  async gc(config: PluginConfig, path: readonly string[]): Promise<void> {
    const plugin = this.#builtin.get(config.type);
    if (plugin !== undefined) return gcBuiltin(plugin, { config, path, plugins: this });
    await this.#execute(config, 'GC', path);
  }

  /**
   * The specification's versions that a plugin supports.
   *
   * @throws {CniError} when it is nowhere, or does not answer VERSION as specified.
   */
  async versions(type: string, path: readonly string[]): Promise<readonly string[]> {
    const plugin = this.#builtin.get(type);
    if (plugin !== undefined) return plugin.versions;
    const config = { cniVersion: newestVersion, name: '', type };
    const stdout = await this.#execute(config, 'VERSION', path, versionVariables, { cniVersion: newestVersion });
    const source = `VERSION of plugin "${type}"`;
    const answer = parseJson(stdout, source);
    const versions = isJsonObject(answer) ? answer['supportedVersions'] : undefined;
    if (!isJsonArray(versions)) {
      throw new CniError(ErrorCode.DecodingFailure, `${source}: expected supportedVersions, a list`);
    }
    return versions.filter((version) => typeof version === 'string');
  }

  async #execute(
    config: PluginConfig,
    command: Command,
    path: readonly string[],
    variables: Readonly<Record<string, string>> = {},
    input: object = config,
  ): Promise<string> {
    const file = await findPlugin(config.type, path, this.#root);
    const env = { ...this.#environment, ...variables, CNI_COMMAND: command, CNI_PATH: path.join(':') };
    return executePlugin(file, { env, stdin: JSON.stringify(input), timeoutMs: this.#timeoutMs, root: this.#root });
  }
}

function variablesOf({ containerId, netns, ifName, args }: Attachment): Readonly<Record<string, string>> {
  return { CNI_CONTAINERID: containerId, CNI_NETNS: netns, CNI_IFNAME: ifName, CNI_ARGS: formatArgs(args) };
}

/** Plugins of the first specifications want these even for VERSION. */
const versionVariables = { CNI_CONTAINERID: 'dummy', CNI_NETNS: 'dummy', CNI_IFNAME: 'dummy', CNI_ARGS: '' };

function withoutCni(environment: Environment): Readonly<Record<string, string>> {
  const inherited: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && !name.startsWith('CNI_')) inherited[name] = value;
  }
  return inherited;
}
