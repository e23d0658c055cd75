import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { inNewNamespace } from '../linux/namespace.ts';

/**
 * A new network namespace and the process that holds it: as the pause container of a pod, it does nothing else. It ends
 * when its standard input does, which is when this process ends, in whatever way. Then the kernel takes the namespace
 * down, and every interface in it.
 */
export class Pause implements AsyncDisposable {
  readonly pid: number;
  /** Of no use once {@link ended}: another process may have the number then. */
  readonly netns: string;
  /** Fulfilled once the process has ended, whoever ended it. */
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #isRunning = true;

  private constructor(child: ChildProcess, pid: number) {
    this.#child = child;
    this.pid = pid;
    this.netns = `/proc/${pid}/ns/net`;
    this.ended = once(child, 'exit').then(() => {
      this.#isRunning = false;
    });
  }

  /**
   * @param command Runs until the end of its standard input, and may do something then.
   * @throws {Error} when it cannot be started, or may not make namespaces.
   */
  static async start(command: readonly [string, ...string[]] = ['cat']): Promise<Pause> {
    const [file, ...args] = command;
    // In a session of its own: Ctrl-C is for us, who have to release first what the namespaces hold.
    const child = inNewNamespace(() => spawn(file, args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true }));
    await once(child, 'spawn');
    if (child.pid === undefined) throw new Error(`${file} has started without a number`);
    return new Pause(child, child.pid);
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Ends the process by ending its input, and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.destroy();
    await this.ended;
  }
}
