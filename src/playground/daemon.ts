import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { toCniError } from '../cni/error.ts';
import type { NetworkNamespace } from '../linux/namespace.ts';
import { type CniSetup, networkStatus } from './sandbox.ts';

/** Milliseconds in which it must answer STATUS, and in which it must end when asked to. */
const startLimit = 30_000;
const stopLimit = 15_000;

/** Lines of the log that are told of when it ends unasked. */
const lastLines = 5;

/**
 * A node of its own has a /var/lib/cni of its own, where plugins keep who has which address, and sees its own interfaces in
 * /sys. A machine that has no /var/lib/cni must not get one: there it is made in an overlay. What plugins keep in /run/cni
 * until the machine starts again is its own, too; and a firewalld of the machine is not the node's. $1 is the directory to use.
 */
const enterNode = `
set -e
mount -t sysfs sysfs /sys
if [ ! -d /var/lib/cni ]; then
  mkdir "$1/overlay"
  mount -t tmpfs tmpfs "$1/overlay"
  mkdir "$1/overlay/upper" "$1/overlay/work"
  mount -t overlay -o "lowerdir=/var/lib,upperdir=$1/overlay/upper,workdir=$1/overlay/work" overlay /var/lib
  mkdir /var/lib/cni
fi
mkdir "$1/var-lib-cni"
mount --bind "$1/var-lib-cni" /var/lib/cni
mkdir -p /run/cni
mount -t tmpfs tmpfs /run/cni
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/cni/no-bus
shift
exec "$@"
`;

export interface DaemonOptions {
  /** How this program is called, without a command: the path of node, and so on. */
  readonly plexus: readonly string[];
  readonly namespace: NetworkNamespace;
  readonly configFile: string;
  /** Where the daemon's log goes. */
  readonly logFile: string;
  /** For what it keeps of its own. */
  readonly directory: string;
}

/** How long one attachment took, by the daemon's own clock. */
export interface AttachmentTime {
  readonly network: string;
  readonly ifName: string;
  readonly milliseconds: number;
}

const answered = z.object({
  command: z.literal('ADD'),
  containerId: z.string(),
  attachments: z.array(
    z.object({ command: z.string(), network: z.string(), ifName: z.string(), durationMs: z.number() }),
  ),
});

/**
 * The Plexus daemon of the playground's node, as it runs on every node: a process of its own. It ends with this process, in
 * whatever way that ends.
 */
export class DaemonProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  readonly #times = new Map<string, readonly AttachmentTime[]>();
  readonly #waiting = new Map<string, (times: readonly AttachmentTime[]) => void>();
  readonly #last: string[] = [];
  #isRunning = true;

  private constructor(child: ChildProcess, logFile: string) {
    this.#child = child;
    this.#ended = once(child, 'exit').then(
      ([status, signal]) => (signal === null ? `exit status ${status}` : `signal ${signal}`),
      (error: unknown) => `${error}`,
    );
    void this.#ended.then(() => {
      this.#isRunning = false;
    });
    if (child.stderr === null) throw new Error('the daemon has no standard error');
    child.stderr.pipe(createWriteStream(logFile));
    createInterface(child.stderr).on('line', (line) => this.#read(line));
  }

  /** @throws {Error} when it cannot be started. */
  static async start({ plexus, namespace, configFile, logFile, directory }: DaemonOptions): Promise<DaemonProcess> {
    const inNode = ['unshare', '--mount', 'sh', '-c', enterNode, 'sh', directory];
    const args = ['--pdeathsig', 'KILL', '--', ...inNode, ...plexus, 'daemon', '--config', configFile];
    const child = namespace.run(() =>
      spawn('setpriv', args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true, env: withoutOwn(process.env) }),
    );
    const daemon = new DaemonProcess(child, logFile);
    await once(child, 'spawn');
    return daemon;
  }

  /**
   * Waits until pods can be attached, asking as container runtimes do.
   *
   * @throws {Error} when the daemon has ended, or is not ready in time: what it said.
   */
  async ready(cni: CniSetup): Promise<void> {
    const ended = this.#ended.then((how) => {
      throw new Error(`the Plexus daemon ended with ${how}:\n${this.#last.join('\n')}`);
    });
    await Promise.race([this.#answers(cni), ended]);
  }

  /** How long each attachment of a sandbox took. */
  async timesOf(sandbox: string): Promise<readonly AttachmentTime[]> {
    const known = this.#times.get(sandbox);
    if (known !== undefined) return known;
    const { promise, resolve } = Promise.withResolvers<readonly AttachmentTime[]>();
    this.#waiting.set(sandbox, resolve);
    // Without its line, which comes at the same moment as the answer, nothing is told of times.
    return Promise.race([promise, sleep(1000, [], { ref: false }), this.#ended.then(() => [])]);
  }

  /** Asks it to end, and waits until it has. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), stopLimit);
    await this.#ended;
    clearTimeout(timer);
  }

  async #answers(cni: CniSetup): Promise<void> {
    const deadline = performance.now() + startLimit;
    for (;;) {
      try {
        return await networkStatus(cni);
      } catch (error) {
        if (!this.#isRunning || performance.now() >= deadline) {
          throw new Error(`the Plexus daemon is not ready: ${toCniError(error).message}`, { cause: error });
        }
      }
      await sleep(20);
    }
  }

  #read(line: string): void {
    this.#last.push(line);
    if (this.#last.length > lastLines) this.#last.shift();
    const call = answered.safeParse(jsonOf(line));
    if (!call.success) return;
    const { containerId, attachments } = call.data;
    const times = attachments
      .filter(({ command }) => command === 'ADD')
      .map(({ network, ifName, durationMs }) => ({ network, ifName, milliseconds: durationMs }));
    this.#times.set(containerId, times);
    this.#waiting.get(containerId)?.(times);
    this.#waiting.delete(containerId);
  }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** What is set for a Plexus or a plugin of the machine is not meant for this one. */
function withoutOwn(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => !/^(PLEXUS|MULTUS|CNI|NODE_NAME)/.test(name)),
  );
}
