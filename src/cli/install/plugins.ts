import { link, readdir, readlink, realpath, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { placeLink, removeFile, syncDirectory } from '../../linux/atomic-file.ts';
import { builtinPlugins } from '../../plugins/builtin.ts';
import { shimName, statIfThere } from './shim.ts';
import type { Steps } from './steps.ts';

/** What stood where ours is, is kept under its name with this ending: neither runtimes nor plugins look at it. */
export const keptEnding = '.before-plexus';

/** Links the names of all built-in plugins to the shim. Other programs of such a name are left alone, and told. */
export async function linkPlugins(binDir: string, steps: Steps): Promise<void> {
  const directory = await realpath(binDir);
  for (const { type } of builtinPlugins) {
    const path = join(directory, type);
    if (await isOwnLink(path)) steps.note(path, `is a link to ${shimName} already`);
    else if (await statIfThere(path)) steps.note(path, 'left alone: another program has this name');
    else await steps.take(path, `linked to ${shimName}`, () => placeLink(path, shimName));
  }
}

/** Puts a link to the shim in a program's place. The program is kept beside it, and there is one or the other at any time. */
export async function replaceProgram(path: string, steps: Steps): Promise<void> {
  if (await isOwnLink(path)) return steps.note(path, `is a link to ${shimName} already`);
  const kept = path + keptEnding;
  await steps.take(path, `replaced by a link to ${shimName}, and kept as ${kept}`, async () => {
    await removeFile(kept);
    await link(path, kept);
    await placeLink(path, shimName);
  });
}

/** The links to the shim in a directory: their names. */
export async function ownLinks(directory: string): Promise<string[]> {
  const own: string[] = [];
  for (const name of await readdir(directory)) if (await isOwnLink(join(directory, name))) own.push(name);
  return own.sort();
}

/** Removes a link to the shim, or puts back what stood there before. */
export async function removeLink(directory: string, name: string, steps: Steps): Promise<void> {
  const path = join(directory, name);
  const kept = path + keptEnding;
  if ((await statIfThere(kept)) === undefined) return steps.take(path, 'removed', () => removeSynced(path, directory));
  await steps.take(path, 'put back as it was before', async () => {
    await rename(kept, path);
    await syncDirectory(directory);
  });
}

export async function removeSynced(path: string, directory: string): Promise<void> {
  await removeFile(path);
  await syncDirectory(directory);
}

async function isOwnLink(path: string): Promise<boolean> {
  const found = await statIfThere(path);
  return found?.isSymbolicLink() === true && (await readlink(path)) === shimName;
}
