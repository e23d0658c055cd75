import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Attachment } from '../../cni/plugin.ts';
import { removeFile, writeAtomically } from '../../linux/atomic-file.ts';

const schema = z.object({
  mac: z.string().optional(),
  promisc: z.boolean().optional(),
  mtu: z.number().optional(),
  allmulti: z.boolean().optional(),
  txQLen: z.number().optional(),
  /** By their paths below /proc/sys/net. The containernetworking plugin keeps none, and passes over them. */
  sysctl: z.record(z.string(), z.string()).optional(),
});

/** What an interface and sysctls were before they were changed; absent what was not. */
export type Backup = z.output<typeof schema>;

export interface BackupFile {
  /**
   * Notes what is about to change, on the disk when this returns. What was noted before stays: an ADD that is repeated
   * finds the changes of the first.
   */
  keep(present: Backup): Promise<void>;
  /** @returns undefined where nothing was changed, or nothing is known of it. */
  read(): Promise<Backup | undefined>;
  remove(): Promise<void>;
}

/** The file of one attachment, as the containernetworking plugin has it, so that each gives back what the other changed. */
export function backupOf(
  directory: string,
  { containerId, ifName }: Pick<Attachment, 'containerId' | 'ifName'>,
): BackupFile {
  const path = join(directory, `${containerId}_${ifName}.json`);
  return {
    async keep(present) {
      const before = await read(path);
      const sysctl = { ...present.sysctl, ...before?.sysctl };
      const merged = { ...present, ...before, sysctl: Object.keys(sysctl).length > 0 ? sysctl : undefined };
      if (Object.values(merged).every((value) => value === undefined)) return;
      const write = (): Promise<void> => writeAtomically(path, JSON.stringify(merged, null, 1));
      await write().catch(async (error: unknown) => {
        if (!isMissing(error)) throw error;
        await mkdir(directory, { recursive: true, mode: 0o700 });
        await write();
      });
    },
    read: () => read(path),
    remove: () => removeFile(path),
  };
}

/** A file that is torn, as a power cut leaves the other plugin's, says nothing. */
async function read(path: string): Promise<Backup | undefined> {
  try {
    return schema.safeParse(JSON.parse(await readFile(path, 'utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    if (isMissing(error)) return undefined;
    throw error;
  }
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
