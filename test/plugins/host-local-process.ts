import { type ChildProcess, fork } from 'node:child_process';
import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { z } from 'zod';
import { answerPlugin } from '../../src/cni/command.ts';
import { renderError, toCniError } from '../../src/cni/error.ts';
import { Runner } from '../../src/cni/runner.ts';
import { hostLocal } from '../../src/plugins/host-local.ts';

/*
 * A process that gives addresses for as long as it lives, as the daemon does, and that can be told to end as a power cut
 * would end it, at any step. This file is both ends: the class, and what runs in the process.
 */

const question = z.object({
  number: z.number(),
  env: z.record(z.string(), z.string()),
  stdin: z.string(),
  /** The change on disk, counted from 1, before which the process ends; 0 for never. */
  killAt: z.number(),
});

const answer = z.object({ number: z.number(), failed: z.boolean(), stdout: z.string() });

export interface Answer {
  readonly failed: boolean;
  readonly stdout: string;
}

export class HostLocalProcess implements AsyncDisposable {
  #child: ChildProcess | undefined;
  #count = 0;
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>();

  /** @returns undefined where the process ended before it answered. The next call is one of another process. */
  call(env: Readonly<Record<string, string>>, stdin: string, killAt: number): Promise<Answer | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    const number = this.#count++;
    this.#waiting.set(number, resolve);
    this.#child ??= this.#start();
    this.#child.send({ number, env, stdin, killAt });
    return promise;
  }

  #start(): ChildProcess {
    const child = fork(import.meta.filename, { env: { ...process.env, PLUGIN_PROCESS: '1' } });
    child.on('message', (message) => {
      const { number, ...told } = answer.parse(message);
      this.#waiting.get(number)?.(told);
      this.#waiting.delete(number);
    });
    // What is sent to a process that is just ending is lost with it.
    child.on('error', () => undefined);
    child.once('exit', () => {
      this.#child = undefined;
      for (const resolve of this.#waiting.values()) resolve(undefined);
      this.#waiting.clear();
    });
    return child;
  }

  /** Ends the process, once it has answered all calls. */
  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.disconnect();
    await exited;
  }
}

if (process.env['PLUGIN_PROCESS'] !== undefined) {
  const plugins = new Runner({ builtin: [hostLocal] });
  let changesLeft = 0;
  subscribe('plexus:host-local', () => {
    if (--changesLeft === 0) process.kill(process.pid, 'SIGKILL');
  });
  process.on('message', async (message) => {
    const { number, env, stdin, killAt } = question.parse(message);
    if (killAt > 0) changesLeft = killAt;
    const answered = await answerPlugin({ env, stdin, plugin: hostLocal, plugins, isOwnNamespace: () => false }).then(
      (stdout) => ({ failed: false, stdout }),
      (thrown: unknown) => ({ failed: true, stdout: renderError(toCniError(thrown), '1.0.0') }),
    );
    process.send?.({ number, ...answered });
  });
}
