import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parseJson } from '../../cni/parse-json.ts';
import { isUnfinished, writeAtomically } from '../../linux/atomic-file.ts';
import type { Logger } from '../log.ts';
import { callsMetaPlugin, undefinedIfMissing } from './master.ts';

export interface KeeperOptions {
  /** The file to keep. */
  readonly file: string;
  /** Says what is to be in it, and throws where that cannot be said yet. */
  readonly compose: () => Promise<Composed>;
  /** Directories whose changes call for another look, the file's own among them. */
  readonly directories: readonly string[];
  readonly log: Logger;
  /** Milliseconds between looks that no change called for: a watch may have missed one. */
  readonly pollMs?: number;
}

export interface Composed {
  readonly text: string;
  /** What it was made from, for the log. */
  readonly from: string;
}

/** Milliseconds from a change to the look at it: a file is seldom written at once. */
const settleMs = 100;

/** Milliseconds between two writes. Somebody else who wants the file otherwise shall not keep the disk busy. */
const pauseMs = 1_000;

/** What runtimes take for a configuration. */
const isConfiguration = (name: string): boolean => /\.(conf|conflist|json)$/.test(name);

/**
 * Keeps the CNI configuration of the node as it is to be while what it is made from comes, changes, is replaced or goes.
 * It never removes it, and leaves it alone where nothing has changed: without it pods silently get the default network
 * only.
 */
export class ConfigKeeper {
  readonly #options: KeeperOptions;
  readonly #watches = new Map<string, { readonly watcher: FSWatcher; readonly inode: bigint }>();
  readonly #poll: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #problems: readonly string[] = [];
  #written: { readonly text: string; readonly at: number } | undefined;
  #closed = false;

  private constructor(options: KeeperOptions) {
    this.#options = options;
    this.#poll = setInterval(() => this.#look(), options.pollMs ?? 10_000).unref();
  }

  /** Fulfilled after a first look, whatever that found. */
  static async start(options: KeeperOptions): Promise<ConfigKeeper> {
    const keeper = new ConfigKeeper(options);
    await keeper.#look();
    return keeper;
  }

  /** Why pods would not be attached by way of the file; empty when all is well. */
  problems(): readonly string[] {
    return this.#problems;
  }

  /** Looks no more. The file stays. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#soon);
    await this.#looking;
    for (const { watcher } of this.#watches.values()) watcher.close();
  }

  #look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      if (this.#closed) return;
      await this.#watchAll();
      let problems: readonly string[];
      try {
        await this.#write(await this.#options.compose());
        problems = await this.#earlierFiles();
      } catch (error) {
        problems = [error instanceof Error ? error.message : String(error)];
      }
      this.#report(problems);
    });
    return this.#looking;
  }

  #lookSoon(): void {
    if (this.#closed || this.#soon !== undefined) return;
    const pause = this.#written === undefined ? 0 : this.#written.at + pauseMs - performance.now();
    this.#soon = setTimeout(
      () => {
        this.#soon = undefined;
        void this.#look();
      },
      Math.max(settleMs, pause),
    ).unref();
  }

  async #write({ text, from }: Composed): Promise<void> {
    const { file, log } = this.#options;
    if ((await readFile(file, 'utf8').catch(undefinedIfMissing)) === text) return;
    if (this.#written?.text === text) {
      log.warn({ file }, 'somebody else changed or removed the CNI configuration of Plexus: it is written again');
    }
    await writeAtomically(file, text);
    this.#written = { text, at: performance.now() };
    log.info({ file, from }, 'wrote the CNI configuration');
  }

  /** Runtimes take the first file by name: what comes before ours must call Plexus as well. */
  async #earlierFiles(): Promise<string[]> {
    const { file } = this.#options;
    const directory = dirname(file);
    const names = (await readdir(directory)).filter((name) => isConfiguration(name) && name < basename(file)).sort();
    for (const name of names) {
      const path = join(directory, name);
      const text = await readFile(path, 'utf8').catch(() => '{}');
      if (isOurs(text, path)) continue;
      return [
        `${path} comes before ${basename(file)}: runtimes take the first, and do not call Plexus; rename or remove it`,
      ];
    }
    return [];
  }

  /** Each change is told once. */
  #report(problems: readonly string[]): void {
    const { file, log } = this.#options;
    const before = this.#problems;
    this.#problems = problems;
    if (problems.join('\n') === before.join('\n')) return;
    if (problems.length > 0) log.warn({ file, problems }, 'not ready: the CNI configuration is waited for');
    else log.info({ file }, 'the CNI configuration is as it is to be');
  }

  /** A directory may come after us, or be replaced by another: then the watch of the old one tells nothing any more. */
  async #watchAll(): Promise<void> {
    for (const directory of new Set(this.#options.directories)) {
      const inode = (await stat(directory, { bigint: true }).catch(() => undefined))?.ino;
      const known = this.#watches.get(directory);
      if (known?.inode === inode) continue;
      known?.watcher.close();
      this.#watches.delete(directory);
      if (inode === undefined) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (_, name) => {
          if (name === null || !isUnfinished(name)) this.#lookSoon();
        });
        watcher.on('error', () => this.#watches.delete(directory));
        this.#watches.set(directory, { watcher, inode });
      } catch {
        // The node has no watches left: looks from time to time have to do.
      }
    }
  }
}

function isOurs(text: string, path: string): boolean {
  try {
    return callsMetaPlugin(parseJson(text, path));
  } catch {
    return false;
  }
}
