import { constants } from 'node:fs';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { undefinedIfMissing } from './master.ts';

/** Runtimes pass over a file with this ending. */
const unfinished = '.plexus-unfinished';

/** Whether a file is one that was never finished, or is being written. */
export const isUnfinished = (name: string): boolean => name.endsWith(unfinished);

/**
 * Writes a file so that whoever reads it, even after a power cut, finds all of the old text or all of the new. It is for its
 * owner alone, as Multus has it.
 *
 * @throws {Error} of the disk. The old text is still there then.
 */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = path + unfinished;
  await unlink(temporary).catch(undefinedIfMissing);
  try {
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(text);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(undefinedIfMissing);
    throw error;
  }
  await using directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  await directory.sync();
}
