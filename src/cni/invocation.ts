import { type CniArgs, parseArgs } from './args.ts';
import { CniError, ErrorCode } from './error.ts';
import type { Attachment } from './plugin.ts';
import { validateContainerId, validateInterfaceName } from './validate.ts';
import { type Command, commands } from './version.ts';

export type AttachmentCommand = 'ADD' | 'DEL' | 'CHECK';

export interface AttachmentInvocation {
  readonly command: AttachmentCommand;
  readonly attachment: Attachment;
  /** CNI_NETNS_OVERRIDE: the caller means it when it names the plugin's own network namespace. */
  readonly netnsOverride: boolean;
}

/** One call of a plugin, as its CNI_* environment describes it. */
export type Invocation =
  | { readonly command: 'VERSION' }
  | { readonly command: 'GC' | 'STATUS'; readonly path: readonly string[] }
  | AttachmentInvocation;

export type Environment = Readonly<Record<string, string | undefined>>;

const required: Readonly<Record<Command, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_PATH'],
  GC: ['CNI_PATH'],
  STATUS: ['CNI_PATH'],
  VERSION: [],
};

/**
 * Reads the CNI_* environment (specification 1.1.0, section "Execution Protocol, Parameters").
 *
 * @throws {CniError} 4 in the words of libcni's plugins: a variable missing, unknown command, bad id or name.
 */
export function readInvocation(env: Environment): Invocation {
  const text = (name: string): string => env[name] ?? '';
  const command = readCommand(text('CNI_COMMAND'));
  const missing = required[command].filter((name) => text(name) === '');
  if (missing.length > 0) throw missingVariables(missing);
  const path = splitPath(text('CNI_PATH'));
  if (command === 'VERSION') return { command };
  if (command === 'GC' || command === 'STATUS') return { command, path };
  const args: CniArgs = parseArgs(text('CNI_ARGS'));
  const attachment = {
    containerId: text('CNI_CONTAINERID'),
    netns: text('CNI_NETNS'),
    ifName: text('CNI_IFNAME'),
    args,
    path,
  };
  validateContainerId(attachment.containerId);
  validateInterfaceName(attachment.ifName);
  const override = text('CNI_NETNS_OVERRIDE');
  return { command, attachment, netnsOverride: override === '1' || override.toUpperCase() === 'TRUE' };
}

function readCommand(text: string): Command {
  if (text === '') throw missingVariables(['CNI_COMMAND']);
  const command = commands.find((each) => each === text);
  if (command === undefined) throw new CniError(ErrorCode.InvalidEnvironment, `unknown CNI_COMMAND: ${text}`);
  return command;
}

function missingVariables(names: readonly string[]): CniError {
  return new CniError(ErrorCode.InvalidEnvironment, `required env variables [${names.join(',')}] missing`);
}

/** CNI_PATH: directories separated by colons. */
export function splitPath(text: string): readonly string[] {
  return text.split(':').filter((directory) => directory !== '');
}
