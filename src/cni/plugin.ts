import type { CniArgs } from './args.ts';
import type { JsonObject } from './json.ts';
import type { Result } from './result.ts';

/** A plugin's configuration as it was given: every key kept, none trusted. A plugin parses its own with zod. */
export interface PluginConfig extends JsonObject {
  readonly cniVersion: string;
  readonly name: string;
  readonly type: string;
}

/** What the CNI_* environment says of one call (specification, section "Execution Protocol, Parameters"). */
export interface Attachment {
  readonly containerId: string;
  /** Path of the sandbox's network namespace. Empty where DEL was called without one. */
  readonly netns: string;
  readonly ifName: string;
  readonly args: CniArgs;
  /** Directories in which executed plugins are looked for, in order. */
  readonly path: readonly string[];
}

/** Runs other plugins by their type; in process or executed, the caller cannot tell. An interface plugin uses it for IPAM. */
export interface PluginRunner {
  add(config: PluginConfig, attachment: Attachment): Promise<Result>;
  delete(config: PluginConfig, attachment: Attachment): Promise<void>;
  check(config: PluginConfig, attachment: Attachment): Promise<void>;
  status(config: PluginConfig, path: readonly string[]): Promise<void>;
  gc(config: PluginConfig, path: readonly string[]): Promise<void>;
}

/** A network plugin that runs in this process. Each lives in one file of src/plugins. */
export interface Plugin {
  /** The `type` of a configuration that selects it. */
  readonly type: string;
  /** The cniVersions that it accepts. */
  readonly versions: readonly string[];
  /**
   * Reads the configuration as ADD will, changes nothing and asks nobody. Absent where every configuration will do.
   *
   * @throws {CniError} 7 saying what is wrong with it.
   */
  validate?(call: ConfigCall): void;
  /** Makes the attachment and returns it. When it throws, nothing of it is left. `config.prevResult` is in {@link PluginCall.prevResult}. */
  add(call: PluginCall): Promise<Result>;
  /** Removes the attachment. Succeeds when there is none; throws only while something is still held. */
  delete(call: PluginCall): Promise<void>;
  /** Throws when the attachment is not as ADD left it. */
  check(call: PluginCall): Promise<void>;
  /** Throws code 50 or 51 when an ADD could not succeed now. */
  status?(call: NetworkCall): Promise<void>;
  /** Removes what belongs to none of the `cni.dev/valid-attachments` of the configuration. */
  gc?(call: NetworkCall): Promise<void>;
}

/** What STATUS and GC are about: a network, not one attachment to it. */
export interface NetworkCall {
  readonly config: PluginConfig;
  /** Directories in which executed plugins are looked for, in order. */
  readonly path: readonly string[];
  readonly plugins: PluginRunner;
}

/** As much of a call as a plugin reads its configuration by. */
export interface ConfigCall {
  readonly config: PluginConfig;
  readonly attachment: Attachment;
}

export interface PluginCall extends ConfigCall {
  /** The result of the plugin before this one in the chain; at CHECK and DEL, the final result of the ADD. */
  readonly prevResult: Result | undefined;
  readonly plugins: PluginRunner;
}
