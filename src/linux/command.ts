import { execFile } from 'node:child_process';

/** Milliseconds. What these programs do takes some; waiting for each other, iptables is told to give up after 10 s. */
const timeout = 30_000;

/** A node with thousands of pods has rules of some megabytes. */
const maxBuffer = 64 * 1024 * 1024;

/** A program that configures the kernel failed, or is not there. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  /** undefined: it could not be started, or was killed. */
  readonly status: number | undefined;
  readonly isMissing: boolean;
  readonly stderr: string;

  constructor(message: string, { status, isMissing, stderr }: Omit<CommandError, keyof Error>, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    this.isMissing = isMissing;
    this.stderr = stderr;
  }
}

/**
 * Runs a program, without a shell, in the node's network namespace.
 *
 * @param name Looked for in PATH and in the directories for administrators.
 * @returns What it printed.
 * @throws {CommandError}
 */
export function runCommand(name: string, args: readonly string[], stdin = ''): Promise<string> {
  const env = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = execFile(name, args, { env, timeout, maxBuffer, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
    if (error === null) resolve(stdout);
    else reject(failureOf(name, error, stderr.trim()));
  });
  child.stdin?.on('error', () => undefined); // it need not read its input
  child.stdin?.end(stdin);
  return promise;
}

function failureOf(name: string, error: Error & { code?: unknown; killed?: boolean }, stderr: string): CommandError {
  const isMissing = error.code === 'ENOENT';
  const status = typeof error.code === 'number' ? error.code : undefined;
  const reason = isMissing
    ? 'not found in PATH'
    : error.killed
      ? `not finished within ${timeout / 1000} s`
      : stderr.split('\n')[0] || error.message;
  return new CommandError(`${name}: ${reason}`, { status, isMissing, stderr }, { cause: error });
}
