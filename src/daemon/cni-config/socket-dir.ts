import type { BigIntStats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export interface SocketDirs {
  /** Where the daemon has its socket. */
  readonly socketDir: string;
  /** The same for the shim, where the administrator says so. */
  readonly daemonSocketDir?: string | undefined;
  /** Where the daemon sees the root of the node. */
  readonly chrootDir?: string | undefined;
}

/**
 * Finds the path by which the shim, which runs on the node, reaches the daemon's socket.
 *
 * @returns undefined when it is not to be found.
 */
export async function shimSocketDir({
  socketDir,
  daemonSocketDir,
  chrootDir,
}: SocketDirs): Promise<string | undefined> {
  return daemonSocketDir ?? pathOnNode(socketDir, chrootDir);
}

/**
 * Finds the path that a directory of the daemon has on the node. In a pod that is another one: with the node's /run mounted
 * at /host/run, /host/run/multus is /run/multus there. It is found by looking for the very same directory below the node's
 * root.
 *
 * @param path A directory that is there.
 * @param chrootDir Where the daemon sees the root of the node; undefined: it sees what the node sees.
 * @returns undefined when it is not to be found there.
 */
export async function pathOnNode(path: string, chrootDir: string | undefined): Promise<string | undefined> {
  const directory = resolve(path);
  if (chrootDir === undefined) return directory;
  const wanted = await stat(directory, { bigint: true });
  const parts = directory.split('/').slice(1);
  for (const index of parts.keys()) {
    const candidate = `/${parts.slice(index).join('/')}`;
    const found = await stat(join(chrootDir, candidate), { bigint: true }).catch(() => undefined);
    if (found !== undefined && isSame(found, wanted)) return candidate;
  }
  return undefined;
}

const isSame = (one: BigIntStats, other: BigIntStats): boolean => one.dev === other.dev && one.ino === other.ino;
