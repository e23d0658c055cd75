import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { z } from 'zod';
import type { KubernetesObject } from '../src/playground/api/object.ts';

/** A request to the API server. */
export interface ApiRequest {
  /** Milliseconds of CLOCK_MONOTONIC. */
  readonly at: number;
  /** Its method and its path. */
  readonly what: string;
}

const answerSchema = z.object({ answer: z.unknown() });
const requestsSchema = z.array(z.object({ at: z.number(), what: z.string() }));

/** The embedded API as a process of its own: bench/api-process.ts. */
export class ApiProcess implements AsyncDisposable {
  /** The text of a kubeconfig. */
  readonly kubeconfig: string;
  readonly #process: ChildProcess;

  private constructor(kubeconfig: string, process: ChildProcess) {
    this.kubeconfig = kubeconfig;
    this.#process = process;
  }

  static async start(): Promise<ApiProcess> {
    const child = fork(join(import.meta.dirname, 'api-process.ts'));
    return new ApiProcess(z.string().parse(await answerOf(child)), child);
  }

  /** @returns Their UIDs. */
  async create(objects: readonly KubernetesObject[]): Promise<string[]> {
    return z.array(z.string()).parse(await this.#ask({ ask: 'create', objects: [...objects] }));
  }

  async deletePods(): Promise<void> {
    await this.#ask({ ask: 'empty' });
  }

  /** Those that have come since the last call. */
  async requests(): Promise<ApiRequest[]> {
    return requestsSchema.parse(await this.#ask({ ask: 'requests' }));
  }

  /** Milliseconds of processor time. */
  async cpu(): Promise<number> {
    return z.number().parse(await this.#ask({ ask: 'cpu' }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#process, 'exit');
    this.#process.disconnect();
    await exited;
  }

  async #ask(question: object): Promise<unknown> {
    const answer = answerOf(this.#process);
    this.#process.send(question);
    return answer;
  }
}

async function answerOf(child: ChildProcess): Promise<unknown> {
  const [message]: unknown[] = await once(child, 'message');
  return answerSchema.parse(message).answer;
}
