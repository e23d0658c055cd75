import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** As many links as the kernel follows in one path (MAXSYMLINKS in include/linux/namei.h). */
const maxLinks = 40;

/**
 * Finds out what a path leads to for a process whose root is another directory: its symbolic links, too, begin there.
 *
 * @param root The directory, as this process sees it.
 * @param path An absolute path below it.
 * @returns The path that it leads to, as this process sees it. Nothing of it needs to be a link any more.
 * @throws {Error} ENOENT and the like, ELOOP.
 */
export async function resolveIn(root: string, path: string): Promise<string> {
  const ahead = path.split('/');
  const behind: string[] = [];
  let links = 0;
  for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      behind.pop();
      continue;
    }
    const file = join(root, ...behind, name);
    if (!(await lstat(file)).isSymbolicLink()) {
      behind.push(name);
      continue;
    }
    if (++links > maxLinks) throw Object.assign(new Error(`${path}: too many symbolic links`), { code: 'ELOOP' });
    const target = await readlink(file);
    if (target.startsWith('/')) behind.length = 0;
    ahead.unshift(...target.split('/'));
  }
  return join(root, ...behind);
}
