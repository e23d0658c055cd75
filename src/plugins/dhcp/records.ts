import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { isUnfinished, removeFile, writeAtomically } from '../../linux/atomic-file.ts';

/* What is known of leases, one file each: they outlive the process that keeps them. */

/** A route that a server told. */
export const routeSchema = z.object({
  dst: z.string(),
  gw: z.string().refine(isIPv4),
  scope: z.int().optional(),
});

export type LeaseRoute = z.output<typeof routeSchema>;

/** Of each protocol's records. */
export const recordSchema = z.object({
  /** Whose it is. */
  network: z.string(),
  containerId: z.string(),
  ifName: z.string(),
  /** Where: a namespace's path and identity, and the interface's index there. */
  netns: z.string(),
  netnsId: z.string(),
  index: z.int(),
  /** Of the boot that the clock's times belong to. */
  bootId: z.string(),
  /**
   * asked: an ADD that has not ended. bound: the lease is good. lost: the server took it back, another is looked for.
   * expired: it has run out.
   */
  status: z.enum(['asked', 'bound', 'lost', 'expired']),
  /** Those of the lease's routes that went with its address, when it was lost. */
  lostRoutes: z.array(routeSchema).optional(),
});

/** What each protocol's records have. */
export type RecordBase = z.output<typeof recordSchema>;

export type Holder = Pick<RecordBase, 'network' | 'containerId' | 'ifName'>;

/** Where a holder's interface is. */
export type Place = Pick<RecordBase, 'netns' | 'netnsId' | 'index'>;

/** The files of a directory that are one protocol's. */
export class Records<Record extends Holder> {
  readonly #directory: string;
  readonly #suffix: string;
  readonly #schema: z.ZodType<Record>;

  /** @param suffix How the files' names end, after a hash's digits. */
  constructor(directory: string, suffix: string, schema: z.ZodType<Record>) {
    this.#directory = directory;
    this.#suffix = suffix;
    this.#schema = schema;
  }

  /** @returns undefined where there is none, or nothing to be read in it. */
  async read(holder: Holder): Promise<Record | undefined> {
    return this.#readFile(this.#pathOf(holder));
  }

  /** On the disk when this resolves. */
  async write(record: Record): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await writeAtomically(this.#pathOf(record), JSON.stringify(record, null, 1));
  }

  async remove(holder: Holder): Promise<void> {
    await removeFile(this.#pathOf(holder));
  }

  /** All that can be read. */
  async list(): Promise<readonly Record[]> {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    });
    const paths = names
      .filter((name) => name.slice(digestLength) === this.#suffix && !isUnfinished(name))
      .map((name) => join(this.#directory, name));
    const records = await Promise.all(paths.map((path) => this.#readFile(path)));
    return records.filter((record) => record !== undefined);
  }

  /** Names of networks may be anything; a hash of them is a file's name. */
  #pathOf(holder: Holder): string {
    const digest = createHash('sha256').update(keyOf(holder)).digest('hex');
    return join(this.#directory, `${digest.slice(0, digestLength)}${this.#suffix}`);
  }

  async #readFile(path: string): Promise<Record | undefined> {
    try {
      return this.#schema.safeParse(JSON.parse(await readFile(path, 'utf8'))).data;
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }
}

const digestLength = 32;

/** Equal for the same holder only: neither containers' IDs nor interfaces' names have a slash. */
export const keyOf = ({ network, containerId, ifName }: Holder): string => `${containerId}/${ifName}/${network}`;

let boot: string | undefined;

/** Namespaces and the node's uptime mean nothing after the next boot. */
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}
