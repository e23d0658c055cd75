import { constants } from 'node:fs';
import { libc } from '../src/linux/c-library.ts';

/*
 * Executes binaries as container runtimes do: by vfork, in microseconds however large the caller is. Node's own spawn
 * forks, which costs milliseconds here, and would be measured instead of the plugins. posix_spawn(3), waitpid(2).
 */

const posixSpawn = libc.func(
  'int posix_spawn(_Out_ int *pid, const char *path, const void *actions, const void *attributes, const char **argv, const char **envp)',
);
const waitpid = libc.func('int waitpid(int pid, _Out_ int *status, int options)');
const initActions = libc.func('int posix_spawn_file_actions_init(void *actions)');
const addOpen = libc.func(
  'int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, unsigned int mode)',
);

/** More than the C library's structure takes on any machine. */
const actionsSize = 256;

export interface Launch {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
  /** A file to read standard input from. */
  readonly stdin: string;
  /** A file to write standard output to. */
  readonly stdout: string;
}

/** Executes it, waits for its end on this thread, and returns its exit status; a signal's number is added to 128. */
export function launch({ path, env, stdin, stdout }: Launch): number {
  const pid = [0];
  check(posixSpawn(pid, path, fileActions(stdin, stdout), null, [path, null], environment(env)), path);
  const status = [0];
  waitpid(pid[0], status, 0);
  return exitStatus(status[0] ?? 0);
}

/** The same, with threads that wait. */
export async function launchBeside({ path, env, stdin, stdout }: Launch): Promise<number> {
  const pid = [0];
  const actions = fileActions(stdin, stdout);
  const errno = await onThread(posixSpawn, pid, path, actions, null, [path, null], environment(env));
  if (actions.length === 0) throw new Error();
  check(errno, path);
  const status = [0];
  await onThread(waitpid, pid[0], status, 0);
  return exitStatus(status[0] ?? 0);
}

function onThread(call: ReturnType<typeof libc.func>, ...args: readonly unknown[]): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  call.async(...args, (error: Error | null, result: number) => (error ? reject(error) : resolve(result)));
  return promise;
}

function fileActions(stdin: string, stdout: string): Buffer {
  const actions = Buffer.alloc(actionsSize);
  initActions(actions);
  addOpen(actions, 0, stdin, constants.O_RDONLY, 0);
  addOpen(actions, 1, stdout, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  return actions;
}

const environment = (env: Readonly<Record<string, string>>): (string | null)[] => [
  ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
  null,
];

function check(errno: number, path: string): void {
  if (errno !== 0) throw new Error(`cannot execute ${path}: errno ${errno}`);
}

const exitStatus = (status: number): number => ((status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f));
