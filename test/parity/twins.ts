import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../src/cni/json.ts';
import { compare } from './compare.ts';
import { ip, mustRun, type ParityNode, startGoNode, startPlexusNode } from './node.ts';
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

/** Looks at nodes until they are clean, and milliseconds between them: the kernel takes away by and by what was a pod's. */
const cleanLooks = 6;
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
    if (await clean(twins)) {
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

/** Puts the nodes back to what they were, as far as that is possible. @returns Whether the next case finds what it expects. */
async function clean({ go, plexus, before }: Idle): Promise<boolean> {
  for (let looks = 0; looks < cleanLooks; looks++) {
    const nodes = [go, plexus].entries().map(([index, { path }]) => putBack(path, before[index] ?? {}));
    if ((await Promise.all(nodes)).every(Boolean)) return true;
    await sleep(cleanInterval);
  }
  return false;
}

async function putBack(path: string, before: JsonObject): Promise<boolean> {
  const found = compare(before, await describeNode(path));
  if (found.length === 0) return true;
  for (const { path: where, go: was } of found) {
    const [, link] = where.match(/^links\/([^/]+)$/) ?? [];
    const [, name, family, key] = where.match(/^sysctls\/([^/]+)\/(ipv[46]) (\w+)$/) ?? [];
    // What is to be put back may be gone, and what is to go may be going, at this very moment.
    if (link !== undefined && was === undefined) await mustRun(path, ['sh', '-c', `ip link del '${link}' || true`]);
    if (key !== undefined && was !== undefined) {
      await mustRun(path, ['sh', '-c', `echo ${was} >/proc/sys/net/${family}/conf/${name}/${key} || true`]);
    }
    if (where.startsWith('filter')) await mustRun(path, ['nft', 'flush', 'ruleset']);
  }
  return false;
}
