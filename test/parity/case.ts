import type { JsonObject, JsonValue } from '../../src/cni/json.ts';
import { type Command, compareVersions } from '../../src/cni/version.ts';
import type { ServerOptions } from '../support/dhcp-server.ts';
import type { DifferenceId } from './differences.ts';

/** The cniVersion of a case that says none. */
export const defaultVersion = '1.1.0';

export interface ParityCase {
  readonly plugin: string;
  /** What is tried, as a test's name. */
  readonly tries: string;
  /** The configuration. `<pod>`, `<node>` and `<data>` stand for paths; host-local keeps its files below the last. */
  readonly config: JsonObject;
  /** ip(8) commands for what the node has. Default: one {@link wire}, ens5. */
  readonly node?: readonly string[];
  /** The same for the pod. Default: nothing but lo. */
  readonly pod?: readonly string[];
  /** What is below /sys: a path, and what it leads to where it is a symbolic link; '' makes a directory. Default: what is there. */
  readonly sys?: Readonly<Record<string, string>>;
  /** A DHCP server on the wire whose end in the pod is net1, and the original's daemon at `<data>/dhcp.sock`. */
  readonly dhcp?: ServerOptions;
  /** Default: {@link lifecycle}. */
  readonly steps?: readonly Step[];
  /** Those that are to be seen. */
  readonly differences?: readonly DifferenceId[];
}

/** A call of the plugin; ip(8) commands for the node or the pod; or files, by their path below `<data>`. */
export type Step =
  | CallStep
  | { readonly node: readonly string[] }
  | { readonly pod: readonly string[] }
  | { readonly files: Readonly<Record<string, string>> };

export interface CallStep {
  readonly call: Command;
  readonly id?: string;
  readonly ifName?: string;
  /** CNI_ARGS. */
  readonly args?: string;
  /** CNI_NETNS. Default: `<pod>`. */
  readonly netns?: string;
  /** Keys to change in the configuration. */
  readonly config?: JsonObject;
  /** What every message says. Absent: the call may not fail on both. */
  readonly error?: RegExp;
}

/** An ADD that fails. */
export interface Refusal {
  readonly tries: string;
  /** What is different from a configuration that works. */
  readonly keys: JsonObject;
  readonly args?: string;
  readonly error: RegExp;
  /** What the DEL that follows says. Default: nothing, it succeeds. */
  readonly delError?: RegExp;
  readonly differences?: readonly DifferenceId[];
}

/** A case for each ADD that fails, and the DEL that a runtime has follow. */
export function refusals(plugin: string, config: JsonObject, refused: readonly Refusal[]): readonly ParityCase[] {
  return refused.map(({ tries, keys, args = '', error, delError, differences = [] }) => ({
    plugin,
    tries: `refused: ${tries}`,
    config: { ...config, ...keys },
    steps: [
      { call: 'ADD', args, error },
      { call: 'DEL', ...(delError !== undefined && { error: delError }) },
    ],
    differences,
  }));
}

/**
 * One case for values that keys cannot have: each makes an ADD fail whose message has the key's name.
 *
 * @param values By key. Those of a list are tried one after the other.
 */
export function wrongValues(
  plugin: string,
  config: JsonObject,
  values: Readonly<Record<string, readonly JsonValue[]>>,
  differences: readonly DifferenceId[] = ['configuration-code'],
): ParityCase {
  const tried = Object.entries(values).flatMap(([key, each]) => each.map((value) => ({ key, value })));
  const steps = tried.map(
    ({ key, value }): Step => ({ call: 'ADD', config: { [key]: value }, error: new RegExp(key, 'i') }),
  );
  return { plugin, tries: 'refused: values that keys cannot have', config, steps, differences };
}

/** All versions of the specification. */
export const versions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

/** What a runtime does, as far as the version has it. The second DEL is what the specification asks plugins to bear. */
export function lifecycle(cniVersion: string = defaultVersion): readonly CallStep[] {
  const calls = [
    'ADD',
    ...(compareVersions(cniVersion, '0.4.0') >= 0 ? ['CHECK' as const] : []),
    'DEL',
    'DEL',
  ] as const;
  return calls.map((call) => ({ call }));
}

/** ip(8) commands for an interface that can be a master. Its other end, of the same name with a p, is in the same place. */
export function wire(name: string, { mtu = 1500, mac = '02:00:00:00:05:01' } = {}): readonly string[] {
  const peer = { name: `${name}p`, mac: mac.replace(/^02/, '06') };
  return [
    `link add ${name} mtu ${mtu} address ${mac} type veth peer name ${peer.name} mtu ${mtu} address ${peer.mac}`,
    `link set ${name} up`,
    `link set ${peer.name} up`,
  ];
}

/** The commands for what a case's node has. */
export const nodeOf = ({ node }: ParityCase): readonly string[] => node ?? wire('ens5');

export const stepsOf = ({ steps, config }: ParityCase): readonly Step[] =>
  steps ?? lifecycle(String(config['cniVersion'] ?? defaultVersion));
