import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';

/**
 * What is known of a module of the running kernel. Unknown: the directory of its modules is not there, as where a kernel
 * was built without any, or a container does not see the node's.
 */
export type ModuleState = 'loaded' | 'built in' | 'can be loaded' | 'missing' | 'unknown';

/** Where to look; tests have trees of their own. */
export interface ModulePlaces {
  /** Where proc_modules(5) is. */
  readonly proc?: string;
  /** Where the modules of each kernel are, each in a directory named by its release. */
  readonly modules?: string;
  readonly release?: string;
}

/** @param name Such as `macvlan`; `-` and `_` are the same in it, as they are to modprobe(8). */
export async function moduleState(
  name: string,
  { proc = '/proc', modules = '/lib/modules', release: kernel = release() }: ModulePlaces = {},
): Promise<ModuleState> {
  const wanted = canonical(name);
  const loaded = await linesOf(join(proc, 'modules'));
  if (loaded?.some((line) => line.split(' ', 1)[0] === wanted)) return 'loaded';
  const builtIn = await linesOf(join(modules, kernel, 'modules.builtin'));
  if (builtIn?.some((line) => moduleOf(line) === wanted)) return 'built in';
  const present = await linesOf(join(modules, kernel, 'modules.dep'));
  if (present?.some((line) => moduleOf(line.split(':', 1)[0] ?? '') === wanted)) return 'can be loaded';
  return builtIn === undefined && present === undefined ? 'unknown' : 'missing';
}

const canonical = (name: string): string => name.replaceAll('-', '_');

/** Of a path such as `kernel/drivers/net/macvlan.ko.xz`. */
function moduleOf(path: string): string | undefined {
  const [, name] = /([^/]+)\.ko(?:\.[a-z0-9]+)?$/.exec(path) ?? [];
  return name && canonical(name);
}

async function linesOf(path: string): Promise<readonly string[] | undefined> {
  try {
    return (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
