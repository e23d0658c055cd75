import { type Command, InvalidArgumentError, Option } from 'commander';
import type { JsonObject } from '../cni/json.ts';

/** Options of commands that need to know how the daemon is configured. */
export interface DaemonOptions {
  readonly config?: string;
  readonly kubeconfig?: string;
  readonly cluster: boolean;
  readonly nodeName?: string;
  readonly socketDir?: string;
  readonly stateDir?: string;
}

export function withDaemonOptions(command: Command): Command {
  return command
    .option('--config <file>', "the daemon's configuration, JSON with the keys of Multus' daemon-config.json")
    .option('--kubeconfig <file>', 'how to reach the Kubernetes API; default: the service account of this pod')
    .option('--no-cluster', 'there is none: every pod gets the default network alone')
    .option('--node-name <name>', "this node's name in Kubernetes; default: the host's")
    .option('--socket-dir <directory>', 'where the shim finds the socket; default: /run/plexus')
    .option('--state-dir <directory>', 'what outlives a restart; default: /var/lib/plexus');
}

/** The keys of the configuration that were given as options. */
export function overridesOf({ config: _, cluster, ...given }: DaemonOptions): JsonObject {
  return { ...given, ...(!cluster && { cluster }) };
}

export function parsePort(text: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a number.');
}

/** @returns Milliseconds. */
function parseSeconds(text: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text) * 1000;
  throw new InvalidArgumentError('expected a number of seconds.');
}

/** Adds how long a daemon elsewhere is waited for, in milliseconds as `timeout`. */
export function withTimeout(command: Command): Command {
  const option = new Option('--timeout <seconds>', 'how long the daemon is waited for; 0: not at all');
  return command.addOption(option.argParser(parseSeconds).default(60_000, '60'));
}

const formats = ['json', 'yaml', 'wide'] as const;

/** How an answer is printed: as a document for programs, or with all columns; as a table for people where it is absent. */
export type Format = (typeof formats)[number] | undefined;

export interface OutputOptions {
  readonly output?: Format;
}

/** Adds `-o`, as kubectl has it. */
export function withOutput(command: Command): Command {
  return command.addOption(
    new Option('-o, --output <format>', 'json or yaml, whose fields stay what they are; or wide').choices(formats),
  );
}
