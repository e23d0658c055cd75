import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

/** Where commands are looked for: some environments leave the directories of the administrator out of PATH. */
const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

/** What a command may print. */
const maxBuffer = 256 << 20;

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Uint8Array;
}

/**
 * Runs a command to its end.
 *
 * @returns What it printed on standard output.
 * @throws {Error} with the end of its standard error, when it cannot be started or fails.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  const { cwd, env = {}, input } = options;
  return new Promise((resolve, reject) => {
    const environment = { ...process.env, PATH: directories.join(delimiter), ...env };
    const child = execFile(
      command,
      args,
      { cwd, env: environment, maxBuffer, encoding: 'buffer' },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        const words = stderr.toString().trim().split('\n').slice(-10).join('\n');
        reject(new Error(`${[command, ...args].join(' ')}: ${words || error.message}`, { cause: error }));
      },
    );
    child.stdin?.on('error', () => undefined); // it need not read its input
    child.stdin?.end(input);
  });
}

/** The path of a command, or undefined where this machine has none of that name. */
export async function findCommand(name: string): Promise<string | undefined> {
  for (const directory of directories) {
    const path = join(directory, name);
    if (await isThere(path, constants.X_OK)) return path;
  }
  return undefined;
}

export function isThere(path: string, mode: number = constants.F_OK): Promise<boolean> {
  return access(path, mode).then(
    () => true,
    () => false,
  );
}
