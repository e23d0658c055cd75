import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../src/cni/json.ts';
import { compare } from './compare.ts';
import { ip, type ParityNode, startGoNode, startPlexusNode } from './node.ts';
import { describeNode } from './snapshot.ts';

/** Two nodes that are alike in all but whose plugins run there. */
export interface Twins extends AsyncDisposable {
  readonly go: ParityNode;
  readonly plexus: ParityNode;
}

interface Idle extends Twins {
  /** ip(8) commands for what they have. */
  readonly made: string;
  /** What they were like when they had that, and nothing else. */
  readonly before: readonly JsonObject[];
}

/** Milliseconds for the kernel to take away what was in a pod that is gone. */
const cleanTimeout = 500;
const cleanInterval = 50;

/** Twins to be used one after the other: to start a process for each case is what takes longest. */
export class TwinPool implements AsyncDisposable {
  readonly #idle: Idle[] = [];

  /** @param commands ip(8) commands for what they are to have. */
  async use<T>(commands: readonly string[], work: (twins: Twins) => Promise<T>): Promise<T> {
    const made = commands.join('\n');
    const place = this.#idle.findIndex((idle) => idle.made === made);
    const [twins = await start(commands)] = place < 0 ? [] : this.#idle.splice(place, 1);
    await using undo = new AsyncDisposableStack();
    undo.use(twins);
    const result = await work(twins);
    if (await isClean(twins)) {
      this.#idle.push(twins);
      undo.move();
    }
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const twins of this.#idle.splice(0)) await twins[Symbol.asyncDispose]();
  }
}

async function start(commands: readonly string[]): Promise<Idle> {
  await using stack = new AsyncDisposableStack();
  const go = stack.use(await startGoNode());
  const plexus = stack.use(await startPlexusNode());
  const nodes = [go, plexus];
  const before = await Promise.all(
    nodes.map(async ({ path }) => {
      await ip(path, commands);
      return describeNode(path);
    }),
  );
  const kept = stack.move();
  return { go, plexus, made: commands.join('\n'), before, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** Whether the nodes have become as they were, so that the next case finds what it expects. */
async function isClean({ go, plexus, before }: Idle): Promise<boolean> {
  const deadline = performance.now() + cleanTimeout;
  for (;;) {
    const after = await Promise.all([go, plexus].map(({ path }) => describeNode(path)));
    if (compare([...before], after).length === 0) return true;
    if (performance.now() >= deadline) return false;
    await sleep(cleanInterval);
  }
}
