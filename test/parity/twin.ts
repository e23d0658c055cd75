import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { goPlugins } from '../../tools/debian.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';

/** What a plugin printed, and whether it called that a failure. */
export interface Answer {
  readonly failed: boolean;
  readonly stdout: string;
}

export type Environment = Readonly<Record<string, string>>;
type Call = (plugin: string, env: Environment, stdin: string) => Promise<Answer>;

/** One of two nodes that are alike in all but whose plugins run there. Each has one pod. */
export interface Twin extends AsyncDisposable {
  /** Paths of namespaces. */
  readonly node: string;
  readonly pod: string;
  /** Where IPAM plugins of this node keep their files. */
  readonly data: string;
  readonly call: Call;
  /** Runs ip(8) commands, one a line, in a namespace. */
  ip(namespace: string, commands: readonly string[]): Promise<void>;
}

interface Ground {
  readonly node: TestNamespace;
  readonly pod: TestNamespace;
  readonly data: TestDirectory;
  readonly stack: AsyncDisposableStack;
}

/** A node whose plugins are the executables of the containernetworking project. */
export async function goTwin(): Promise<Twin> {
  const bin = await goPlugins('1.9');
  const ground = await layGround();
  const call: Call = async (plugin, env, stdin) => {
    const { status, stdout, stderr } = await runIn(ground.node.path, [join(bin, plugin)], stdin, {
      ...env,
      CNI_PATH: bin,
    });
    // A Go program that panics says so on standard error, and nothing on standard output.
    const failed = status !== 0;
    return { failed, stdout: failed && stdout === '' ? JSON.stringify({ code: status, msg: stderr }) : stdout };
  };
  return twin(ground, call);
}

const answer = z.object({ failed: z.boolean(), stdout: z.string() });

/** A node whose plugins are those of this repository, in one process. */
export async function plexusTwin(): Promise<Twin> {
  const ground = await layGround();
  const program = [process.execPath, join(import.meta.dirname, 'plexus.ts')];
  const child = spawn('nsenter', [`--net=${ground.node.path}`, ...program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const ended = once(child, 'close');
  ground.stack.defer(async () => {
    child.stdin.end();
    await ended;
  });
  const call: Call = async (plugin, env, stdin) => {
    child.stdin.write(`${JSON.stringify({ plugin, env: { ...env, CNI_PATH: '/nowhere' }, stdin })}\n`);
    const { value, done } = await lines.next();
    if (done === true) throw new Error(`${program.join(' ')} ended: ${(await ended).join(' ')}`);
    return answer.parse(JSON.parse(value));
  };
  return twin(ground, call);
}

async function layGround(): Promise<Ground> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(await testNamespace());
  const pod = stack.use(await testNamespace());
  const data = stack.use(await testDirectory());
  for (const { path } of [node, pod]) {
    // Duplicate address detection would only make everybody wait.
    await mustRun(path, ['sh', '-c', 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad']);
  }
  return { node, pod, data, stack: stack.move() };
}

function twin({ node, pod, data, stack }: Ground, call: Call): Twin {
  return {
    node: node.path,
    pod: pod.path,
    data: data.path,
    call,
    async ip(namespace, commands) {
      if (commands.length > 0) await mustRun(namespace, ['ip', '-batch', '-'], `${commands.join('\n')}\n`);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
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
