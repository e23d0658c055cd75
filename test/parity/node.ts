import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { goPlugins } from '../../tools/debian.ts';
import { testNamespace } from '../support/namespace.ts';

/** What a plugin printed, and whether it called that a failure. */
export interface Answer {
  readonly failed: boolean;
  readonly stdout: string;
}

export type Environment = Readonly<Record<string, string>>;

/** A network namespace with plugins. */
export interface ParityNode extends AsyncDisposable {
  readonly path: string;
  /** @param sys A directory that the plugin finds in the place of /sys; '' for none. */
  call(plugin: string, env: Environment, stdin: string, sys?: string): Promise<Answer>;
}

type Call = ParityNode['call'];

/** Executes its second argument with its first as /sys. */
const withSys = 'mount --bind "$0" /sys && exec "$1"';

/** Calls the executables of the containernetworking project in a namespace. */
export async function goPluginsIn(path: string): Promise<Call> {
  const bin = await goPlugins('1.9');
  return async (plugin, env, stdin, sys = '') => {
    const enter = sys === '' ? [] : ['unshare', '--mount', 'sh', '-c', withSys, sys];
    const command = [...enter, join(bin, plugin)];
    const { status, stdout, stderr } = await runIn(path, command, stdin, { ...env, CNI_PATH: bin });
    // A Go program that panics says so on standard error, and nothing on standard output.
    const failed = status !== 0;
    return { failed, stdout: failed && stdout === '' ? JSON.stringify({ code: status, msg: stderr }) : stdout };
  };
}

/** A node whose plugins are those executables. */
export async function startGoNode(): Promise<ParityNode> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await networkNamespace());
  const call = await goPluginsIn(path);
  const kept = stack.move();
  return { path, call, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const answer = z.object({ failed: z.boolean(), stdout: z.string() });

/** A node whose plugins are those of this repository, in one process. */
export async function startPlexusNode(): Promise<ParityNode> {
  const { path, [Symbol.asyncDispose]: dispose } = await networkNamespace();
  const program = [process.execPath, join(import.meta.dirname, 'plexus.ts')];
  const child = spawn('nsenter', [`--net=${path}`, ...program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    path,
    async call(plugin, env, stdin, sys = '') {
      child.stdin.write(`${JSON.stringify({ plugin, env: { ...env, CNI_PATH: '/nowhere' }, stdin, sys })}\n`);
      const { value, done } = await lines.next();
      if (done === true) throw new Error(`${program.join(' ')} ended: ${(await ended).join(' ')}`);
      return answer.parse(JSON.parse(value));
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await ended;
      await dispose();
    },
  };
}

/** A namespace where duplicate address detection, which would only make everybody wait, is off for what is made there. */
export async function networkNamespace(): Promise<AsyncDisposable & { readonly path: string }> {
  const namespace = await testNamespace();
  await mustRun(namespace.path, ['sh', '-c', 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad']);
  return namespace;
}

/** Runs ip(8) commands, one a line. */
export async function ip(namespace: string, commands: readonly string[]): Promise<void> {
  if (commands.length > 0) await mustRun(namespace, ['ip', '-batch', '-'], `${commands.join('\n')}\n`);
}

/** Runs a program in a namespace, which must succeed. @returns What it printed. */
export async function mustRun(namespace: string, command: readonly string[], stdin = ''): Promise<string> {
  const { status, stdout, stderr } = await runIn(namespace, command, stdin);
  if (status !== 0) throw new Error(`${command.join(' ')}: exit status ${status}: ${stderr}\n${stdin}`);
  return stdout;
}

async function runIn(namespace: string, command: readonly string[], stdin: string, env: Environment = {}) {
  const child = spawn('nsenter', [`--net=${namespace}`, ...command], { env: { PATH: process.env['PATH'], ...env } });
  const printed = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed.stderr += text;
  });
  child.stdin.on('error', () => undefined); // it need not read its input
  child.stdin.end(stdin);
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject).once('close', (code) => resolve(code ?? -1));
  });
  return { status, ...printed };
}
