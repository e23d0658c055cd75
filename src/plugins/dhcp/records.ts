import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isUnfinished, removeFile, writeAtomically } from '../../linux/atomic-file.ts';
import { leaseSchema } from './lease.ts';

/* What is known of leases, one file each: they outlive the process that keeps them. */

const hex = z.string().regex(/^([0-9a-f]{2})*$/);

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
});

const schema = recordSchema.extend({
  broadcast: z.boolean(),
  /** What each message says: code and value. */
  options: z.array(z.tuple([z.int().min(1).max(254), hex])),
  lease: leaseSchema.optional(),
  /** Those of the lease's routes that went with its address, when it was lost. */
  lostRoutes: leaseSchema.shape.routes.optional(),
  /** What the server was asked for last, which it may have noted without that being known here. */
  offered: leaseSchema.pick({ address: true, server: true, serverMac: true }).optional(),
});

export type LeaseRecord = z.output<typeof schema>;

export type Holder = Pick<LeaseRecord, 'network' | 'containerId' | 'ifName'>;

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

/** Leases of IPv4. */
export const leaseRecords = (directory: string): Records<LeaseRecord> => new Records(directory, '.json', schema);

/** Equal for the same holder only: neither containers' IDs nor interfaces' names have a slash. */
export const keyOf = ({ network, containerId, ifName }: Holder): string => `${containerId}/${ifName}/${network}`;
