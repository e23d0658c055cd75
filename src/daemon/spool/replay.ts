import { channel } from 'node:diagnostics_channel';
import { type FSWatcher, watch } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { metaPlugins } from '../../attach/network-file.ts';
import { CniError, ErrorCode, toCniError } from '../../cni/error.ts';
import { isJsonObject } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import type { Answer, Request } from '../frame.ts';
import { Gate } from '../gate.ts';
import type { Logger } from '../log.ts';
import type { Content, SpoolDirectory, Waiting } from './directory.ts';
import { decodeRequest, laterRequest, podNamed } from './request.ts';

/** Told before and after each change on disk. Tests end the process here to show that every step can be recovered from. */
const steps = channel('plexus:spool');

export interface ReplayOptions {
  readonly directory: SpoolDirectory;
  /** Answers a request as one of the runtime. */
  readonly answer: (request: Request) => Promise<Answer>;
  /** Takes over what the shim attached by itself. Fulfilled with false while the shim is still at it. */
  readonly adopt: (waiting: Waiting) => Promise<boolean>;
  readonly log: Logger;
  /** Milliseconds before what failed is tried again, the last for ever. */
  readonly waits?: readonly number[];
}

/** A request that waits. */
interface Item {
  readonly waiting: Waiting;
  /** `namespace/name`, once it was read. */
  pod?: string | undefined;
  /** While it is carried out: fulfilled with whether it was. */
  carrying?: Promise<boolean> | undefined;
  /** Why it was not. */
  failure?: string;
}

const defaultWaits: readonly number[] = [1_000, 5_000, 30_000, 60_000, 300_000];

/** Milliseconds between looks that no change called for: a watch may have missed one. */
const pollMs = 10_000;

/** Requests that are carried out at a time: each may execute plugins. */
const atATime = 16;

/** With these codes a request is refused whenever it comes. */
const hopeless: ReadonlySet<unknown> = new Set([ErrorCode.InvalidEnvironment, ErrorCode.DecodingFailure]);

/**
 * Carries out the requests that the shim left while there was no daemon, or none that answered. Each stays on disk until it
 * succeeded, so that none is lost to a crash; one that is carried out twice finds nothing left to do.
 */
export class Replay {
  readonly #options: ReplayOptions;
  readonly #items = new Map<string, Item>();
  readonly #gate = new Gate(atATime);
  readonly #poll: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retries = 0;
  /** The look that is under way, and the one that begins after it. */
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #closed = false;

  private constructor(options: ReplayOptions) {
    this.#options = options;
    this.#poll = setInterval(() => this.#lookAgain(), pollMs).unref();
  }

  /** Begins with all that waits. */
  static async start(options: ReplayOptions): Promise<Replay> {
    const replay = new Replay(options);
    replay.#watch();
    await replay.#look();
    if (replay.#items.size > 0) {
      options.log.info({ requests: replay.#items.size }, 'carrying out what was left while there was no daemon');
    }
    return replay;
  }

  /** How many requests wait, by their command. */
  get waiting(): { readonly ADD: number; readonly DEL: number } {
    const count = { ADD: 0, DEL: 0 };
    for (const { waiting } of this.#items.values()) count[waiting.command]++;
    return count;
  }

  /**
   * To be waited for before a call of the runtime is worked on: what was left earlier for its sandbox is carried out first,
   * before an ADD also what was left for another sandbox of its pod, and before a GC all that the shim attached by itself.
   *
   * @throws {CniError} 11 for an ADD whose sandbox is not rid of what is older: it would be undone later; and for any call that
   *   concerns what the shim is still attaching.
   */
  async before(request: Request): Promise<void> {
    const command = request.env['CNI_COMMAND'];
    if (command === 'STATUS' || command === 'VERSION') return;
    await this.#look();
    if (this.#items.size === 0) return;
    const isAdd = command === 'ADD';
    const pod = podNamed(request);
    for (const item of [...this.#items.values()]) {
      const isOwn = isOfSandbox(item.waiting, request);
      const isRecord = item.waiting.command === 'ADD' && (isOwn || command === 'GC');
      const isOfPod = isAdd && metaPlugins.has(request.name) && pod !== undefined && item.pod === pod;
      // What failed has its own times: it must not keep a pod's next sandbox waiting.
      if (!isOwn && !isRecord && !(isOfPod && item.carrying)) continue;
      if (await (item.carrying ?? this.#carry(item))) continue;
      if (isRecord || (isOwn && isAdd)) throw stillWaiting(item);
    }
  }

  /** Begins nothing more, and waits so many milliseconds for what is under way. What is cut off waits on disk. */
  async close(limitMs: number): Promise<void> {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#retry);
    this.#watcher?.close();
    const carrying = [...this.#items.values()].map((item) => item.carrying);
    await Promise.race([
      Promise.allSettled([this.#next, this.#looking, ...carrying]),
      sleep(limitMs, undefined, { ref: false }),
    ]);
  }

  /** Finds out what has come. Each who asks gets a look that begins after the question. */
  #look(): Promise<void> {
    const look = (): Promise<void> => {
      this.#looking = this.#next ?? Promise.resolve();
      this.#next = undefined;
      return this.#readDirectory();
    };
    this.#next ??= this.#looking.then(look, look);
    return this.#next;
  }

  #lookAgain(): void {
    if (this.#closed) return;
    this.#look().catch((error: unknown) => this.#options.log.error({ err: error }, 'the spool cannot be read'));
  }

  async #readDirectory(): Promise<void> {
    const { waiting } = await this.#options.directory.list();
    const files = new Set(waiting.map(({ file }) => file));
    for (const [file, { carrying }] of this.#items) {
      if (!files.has(file) && carrying === undefined) this.#items.delete(file);
    }
    for (const each of waiting) {
      if (this.#items.has(each.file) || this.#closed) continue;
      const item: Item = { waiting: each };
      this.#items.set(each.file, item);
      void this.#carry(item);
    }
  }

  /** @returns Whether it was carried out, and waits no more. */
  #carry(item: Item): Promise<boolean> {
    const task = (): Promise<boolean> => this.#attempt(item);
    // A DEL of the meta-plugin may wait for what the shim attached, or for a plugin's DEL: those must not wait for their turn.
    const { command, plugin } = item.waiting;
    const attempt = command === 'DEL' && metaPlugins.has(plugin) ? this.#gate.run(task) : task();
    item.carrying = attempt.then((done) => {
      item.carrying = undefined;
      if (done) this.#items.delete(item.waiting.file);
      else if (command === 'ADD') this.#carrySoon(item);
      else this.#retryLater();
      return done;
    });
    return item.carrying;
  }

  async #attempt(item: Item): Promise<boolean> {
    const { directory, answer, log } = this.#options;
    const { waiting } = item;
    const { file, plugin, containerId, ifName, command } = waiting;
    const told = { file, plugin, command, containerId, ifName };
    try {
      if (this.#closed) return false;
      if (command === 'ADD') return await this.#options.adopt(waiting);
      if (!(await this.#isAdopted(waiting))) return false;
      const content = await directory.read(waiting);
      if (content === undefined) return true;
      const request = await this.#requestIn(content, waiting);
      if (request === undefined) return true;
      item.pod = podNamed(request);
      steps.publish({ at: 'carry out', file });
      const { exitStatus, stdout } = await answer(laterRequest(request));
      steps.publish({ at: 'carried out', file });
      if (exitStatus !== 0) {
        const { code, message } = errorIn(stdout);
        if (hopeless.has(code)) return await this.#setAside(waiting, message);
        item.failure = message;
        log.warn(
          { ...told, pod: item.pod, code },
          `what was left for the daemon failed, and is tried again: ${message}`,
        );
        return false;
      }
      await directory.remove(waiting, content.inode);
      steps.publish({ at: 'removed', file });
      log.info({ ...told, pod: item.pod }, 'carried out what was left while there was no daemon');
      return true;
    } catch (error) {
      item.failure = toCniError(error).message;
      log.error({ ...told, err: error }, 'what was left for the daemon cannot be carried out now, and is tried again');
      return false;
    }
  }

  /** Whether the shim's own ADD for the same sandbox, if there was any, is in the journal, where a DEL finds it. */
  async #isAdopted({ containerId, ifName }: Waiting): Promise<boolean> {
    for (const item of this.#items.values()) {
      const { waiting, carrying } = item;
      if (waiting.command !== 'ADD' || waiting.containerId !== containerId || waiting.ifName !== ifName) continue;
      if (!(await (carrying ?? this.#carry(item)))) return false;
    }
    return true;
  }

  async #requestIn({ bytes }: Content, waiting: Waiting): Promise<Request | undefined> {
    try {
      return decodeRequest(bytes, waiting);
    } catch (error) {
      await this.#setAside(waiting, toCniError(error).message);
      return undefined;
    }
  }

  async #setAside(waiting: Waiting, why: string): Promise<true> {
    const { directory, log } = this.#options;
    const path = await directory.setAside(waiting);
    const { containerId, ifName, command } = waiting;
    log.error(
      { path, command, containerId, ifName },
      `what was left for the daemon makes no sense, and what it stood for may be held: ${why}; release by hand what it ` +
        'names, or by GC, then remove the file',
    );
    return true;
  }

  /** The shim ends when its plugins do, which is not a failure. */
  #carrySoon(item: Item): void {
    if (this.#closed) return;
    const { waits = defaultWaits } = this.#options;
    setTimeout(() => {
      if (item.carrying === undefined && this.#items.get(item.waiting.file) === item) void this.#carry(item);
    }, waits[0] ?? pollMs).unref();
  }

  #retryLater(): void {
    if (this.#closed || this.#retry !== undefined) return;
    const { waits = defaultWaits } = this.#options;
    const wait = waits[Math.min(this.#retries, waits.length - 1)] ?? pollMs;
    this.#retries++;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      const failed = [...this.#items.values()].filter(
        ({ carrying, waiting }) => carrying === undefined && waiting.command === 'DEL',
      );
      if (failed.length === 0) this.#retries = 0;
      for (const item of failed) void this.#carry(item);
    }, wait).unref();
  }

  #watch(): void {
    try {
      this.#watcher = watch(this.#options.directory.path, { persistent: false }, () => this.#lookAgain());
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // The node has no watches left: looks from time to time have to do.
    }
  }
}

/** Whether what waits is for the sandbox of a call, which comes to the same plugin. */
function isOfSandbox({ plugin, containerId }: Waiting, { name, env }: Request): boolean {
  const isSamePlugin = plugin === name || (metaPlugins.has(plugin) && metaPlugins.has(name));
  return isSamePlugin && containerId === env['CNI_CONTAINERID'];
}

function stillWaiting({ waiting: { command, containerId, ifName }, failure = 'it is under way' }: Item): CniError {
  return new CniError(
    ErrorCode.TryAgainLater,
    `container ${containerId}, interface ${ifName}: an earlier ${command}, which was left for the daemon, comes first: ${failure}`,
  );
}

function errorIn(stdout: string): { readonly code: unknown; readonly message: string } {
  const { code, msg } = objectIn(stdout);
  return { code, message: typeof msg === 'string' ? msg : stdout };
}

function objectIn(text: string): Readonly<Record<string, unknown>> {
  try {
    const json = parseJson(text, 'the answer');
    return isJsonObject(json) ? json : {};
  } catch {
    return {};
  }
}
