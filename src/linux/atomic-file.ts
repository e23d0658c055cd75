import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';

/** CNI runtimes pass over a file with this ending. */
const unfinished = '.plexus-unfinished';

/** Whether a file is one that was never finished, or is being written. */
export const isUnfinished = (name: string): boolean => name.endsWith(unfinished);

/**
 * Writes a file so that whoever reads it, even after a power cut, finds all of the old content or all of the new.
 *
 * @param mode Unless told, it is for its owner alone.
 * @throws {Error} of the disk. The old content is still there then.
 */
export async function writeAtomically(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = path + unfinished;
  try {
    await using file = await openNew(temporary, mode);
    await file.writeFile(content);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await removeFile(temporary);
    throw error;
  }
  await using directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  await directory.sync();
}

/** What a process that was killed left under the name is in nobody's use. */
async function openNew(path: string, mode: number): Promise<FileHandle> {
  try {
    return await open(path, 'wx', mode);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    await removeFile(path);
    return open(path, 'wx', mode);
  }
}

/** Removes a file; none is no error. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error;
  });
}

const hasCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code;
