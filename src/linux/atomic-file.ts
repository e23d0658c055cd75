import { constants } from 'node:fs';
import { type FileHandle, open, rename, symlink, unlink } from 'node:fs/promises';
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
  await syncDirectory(dirname(path));
}

/** How a program is put in its place. */
export interface Placement {
  readonly uid: number;
  readonly gid: number;
  /** Told the path of the whole file before it gets its name. What it throws keeps the old file. */
  readonly check: (temporary: string) => Promise<void>;
}

/**
 * Puts a program in its place so that whoever executes it finds all of the old one or all of the new. It is made in the
 * directory that it is for, whose security context it gets by that.
 *
 * @throws {Error} of the disk, or of `check`. The old program is still there then.
 */
export async function placeProgram(path: string, content: Uint8Array, { uid, gid, check }: Placement): Promise<void> {
  const temporary = path + unfinished;
  try {
    await writeProgram(temporary, content, { uid, gid });
    await check(temporary);
    await rename(temporary, path);
  } catch (error) {
    await removeFile(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Closed when this ends: what is open for writing cannot be executed. */
async function writeProgram(
  path: string,
  content: Uint8Array,
  { uid, gid }: Pick<Placement, 'uid' | 'gid'>,
): Promise<void> {
  await using file = await openNew(path, 0o700);
  await file.writeFile(content);
  await file.chown(uid, gid);
  await file.chmod(0o755);
  await file.sync();
}

/** Puts a symbolic link in its place, whatever file or link has its name, which is not missing for a moment. */
export async function placeLink(path: string, target: string): Promise<void> {
  const temporary = path + unfinished;
  await removeFile(temporary);
  try {
    await symlink(target, temporary);
    await rename(temporary, path);
  } catch (error) {
    await removeFile(temporary);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Waits until what was renamed, made or removed in a directory is so on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
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
