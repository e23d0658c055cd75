import { access, constants, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Root } from '../cni/exec.ts';

/** Where coreutils and busybox have it. */
const places = ['/usr/sbin/chroot', '/usr/bin/chroot', '/sbin/chroot', '/bin/chroot'];

/**
 * The root that executed plugins are to have.
 *
 * @param chrootDir The configuration's. "/" is as good as none.
 * @throws {Error} when there is no such directory, or no chroot(1).
 */
export async function pluginRoot(chrootDir: string | undefined): Promise<Root | undefined> {
  if (chrootDir === undefined || resolve(chrootDir) === '/') return undefined;
  const about = await stat(chrootDir).catch(() => undefined);
  if (!about?.isDirectory()) {
    throw new Error(
      `chrootDir: expected a directory, the root of the node, found none at ${chrootDir}; mount it there, or leave ` +
        'chrootDir out where the daemon does not run in a pod',
    );
  }
  for (const chroot of places) {
    const isThere = await access(chroot, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return { directory: resolve(chrootDir), chroot };
  }
  throw new Error(`chrootDir: expected the program chroot, of coreutils, at one of ${places.join(', ')}; install it`);
}
