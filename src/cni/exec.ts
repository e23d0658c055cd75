import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve as resolvePath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from './error.ts';
import { isJsonObject, type JsonObject } from './json.ts';
import { parseJson } from './parse-json.ts';
import { resolveIn } from './root.ts';

/** A result larger than this is not one. */
const maxStdout = 1 << 20;

/** Enough of a plugin's last words for a log line. */
const maxStderr = 4096;

/** How long output is waited for after the plugin's end, where a process it left behind holds the pipe open. */
const lingerMs = 1000;

/** A binary that is being replaced cannot be executed for a moment. Waits add up to about 5 s, as libcni's do. */
const busyWaitsMs = [50, 150, 300, 500, 1000, 1500, 1500];

export interface Execution {
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** After this many milliseconds the plugin is killed. */
  readonly timeoutMs: number;
  /** Where the plugin's root is to be. Absent: this process's own. */
  readonly root?: Root | undefined;
}

/** A directory that executed plugins have as their root: that of the node, for a daemon in a pod. */
export interface Root {
  readonly directory: string;
  /** Path of chroot(1), which is executed with the directory and the plugin. */
  readonly chroot: string;
}

/** There is no binary for a plugin, so it has done nothing. */
export class PluginNotFoundError extends CniError {}

/**
 * Finds a plugin's binary: the first regular file of that name in the directories.
 *
 * @param root Where the directories are, and the path returned.
 * @throws {CniError} 7 when the type is not a plain file name.
 * @throws {PluginNotFoundError} 999 when there is no such file.
 */
export async function findPlugin(type: string, path: readonly string[], root?: Root): Promise<string> {
  if (type === '' || type === '.' || type === '..' || /[/\0]/.test(type)) {
    throw new CniError(ErrorCode.InvalidNetworkConfig, `type: expected the name of a plugin, found "${type}"`);
  }
  for (const directory of path) {
    const file = resolvePath(directory, type);
    const found = await (root === undefined ? stat(file) : statIn(root, file)).catch(() => undefined);
    if (found?.isFile()) return file;
  }
  throw new PluginNotFoundError(
    ErrorCode.Internal,
    `failed to find plugin "${type}" in path [${path.join(' ')}]`,
    'install the plugin in one of these directories, or correct the type in the configuration',
  );
}

const statIn = async ({ directory }: Root, file: string): Promise<Stats> => stat(await resolveIn(directory, file));

/**
 * Executes a plugin without a shell and returns what it printed.
 *
 * @param file The binary's path.
 * @throws {CniError} the plugin's own error where it printed one; 11 when it did not finish in time; 5 when it could not be
 *   started, or printed too much; 999 when it failed without saying why, with the end of its standard error.
 */
export async function executePlugin(file: string, execution: Execution): Promise<string> {
  const output = await outputOf(file, execution);
  if (output.end === 'timeout') {
    throw new CniError(
      ErrorCode.TryAgainLater,
      `${file} did not finish within ${execution.timeoutMs / 1000} s and was killed`,
      output.stderr,
    );
  }
  if (output.end === 'overflow') {
    throw new CniError(
      ErrorCode.IoFailure,
      `${file} printed more than ${maxStdout} bytes and was killed`,
      output.stderr,
    );
  }
  if (output.end !== 'exit status 0') throw failureOf(file, output);
  return output.stdout;
}

interface Output {
  /** `exit status N`, `signal NAME`, `timeout` or `overflow`. */
  readonly end: string;
  readonly stdout: string;
  /** The last part of it, trimmed. */
  readonly stderr: string;
}

/** chroot(1) says in its own words that the binary is being replaced; nothing was executed then. */
const saysBusy = ({ end, stderr }: Output): boolean => end === 'exit status 126' && stderr.endsWith('Text file busy');

async function outputOf(file: string, execution: Execution): Promise<Output> {
  const once = async (): Promise<Output> => collect(await start(file, execution), execution);
  if (execution.root === undefined) return once();
  for (const wait of busyWaitsMs) {
    const output = await once();
    if (!saysBusy(output)) return output;
    await sleep(wait);
  }
  return once();
}

async function start(file: string, { env, root }: Execution): Promise<ChildProcessWithoutNullStreams> {
  for (const wait of busyWaitsMs) {
    try {
      return await spawned(file, env, root);
    } catch (thrown) {
      if (!isBusy(thrown)) throw startFailure(file, thrown);
      await sleep(wait);
    }
  }
  return spawned(file, env, root).catch((thrown: unknown) => {
    throw startFailure(file, thrown);
  });
}

/** Some failures of spawn are thrown, others arrive as an event. */
async function spawned(
  file: string,
  env: Execution['env'],
  root: Root | undefined,
): Promise<ChildProcessWithoutNullStreams> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const [command, args] = root === undefined ? [file, []] : [root.chroot, [root.directory, file]];
  const child = spawn(command, args, { env, stdio: 'pipe' });
  child.once('spawn', resolve);
  child.once('error', reject);
  await promise;
  return child;
}

function isBusy(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'ETXTBSY';
}

function startFailure(file: string, thrown: unknown): CniError {
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new CniError(ErrorCode.IoFailure, `cannot execute ${file}: ${reason}`, '', { cause: thrown });
}

function collect(child: ChildProcessWithoutNullStreams, { stdin, timeoutMs }: Execution): Promise<Output> {
  const { promise, resolve } = Promise.withResolvers<Output>();
  const stdout: Buffer[] = [];
  let stdoutLength = 0;
  let stderr: Buffer = Buffer.alloc(0);
  let killedFor: 'timeout' | 'overflow' | undefined;
  let linger: NodeJS.Timeout | undefined;

  const kill = (reason: 'timeout' | 'overflow'): void => {
    killedFor ??= reason;
    child.kill('SIGKILL');
  };
  const timer = setTimeout(kill, timeoutMs, 'timeout');

  child.stdout.on('data', (chunk: Buffer) => {
    stdoutLength += chunk.length;
    if (stdoutLength > maxStdout) kill('overflow');
    else stdout.push(chunk);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-maxStderr);
  });
  child.on('error', () => undefined); // a kill that comes too late
  child.once('exit', () => {
    clearTimeout(timer);
    linger = setTimeout(() => {
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
    }, lingerMs);
  });
  child.once('close', (status, signal) => {
    clearTimeout(linger);
    const end = killedFor ?? (signal === null ? `exit status ${status}` : `signal ${signal}`);
    resolve({ end, stdout: Buffer.concat(stdout).toString(), stderr: stderr.toString().trim() });
  });
  child.stdin.on('error', () => undefined); // a plugin need not read its input
  child.stdin.end(stdin);
  return promise;
}

function failureOf(file: string, { end, stdout, stderr }: Output): CniError {
  const said = errorIn(stdout);
  if (said !== undefined) return said;
  const words = [stdout.trim().slice(0, maxStderr), stderr].filter((text) => text !== '').join('\n');
  const why = words === '' ? 'without a message' : `and said: ${words.split('\n').at(-1)}`;
  return new CniError(ErrorCode.Internal, `${file} ended with ${end} ${why}`, words);
}

/** The specification's error object, where that is what a plugin printed. */
function errorIn(stdout: string): CniError | undefined {
  const json = readObject(stdout);
  if (json === undefined) return undefined;
  const { code, msg, details } = json;
  if (typeof msg !== 'string' && typeof code !== 'number') return undefined;
  return new CniError(
    typeof code === 'number' ? code : ErrorCode.Internal,
    typeof msg === 'string' && msg !== '' ? msg : `error ${JSON.stringify(code)} without a message`,
    typeof details === 'string' ? details : '',
  );
}

function readObject(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text, '');
    return isJsonObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}
