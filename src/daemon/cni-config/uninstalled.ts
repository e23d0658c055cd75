import { access } from 'node:fs/promises';
import { join } from 'node:path';

/** While this file is in stateDir, the daemon does not write the CNI configuration: somebody takes Plexus off the node. */
export const uninstalledFile = (stateDir: string): string => join(stateDir, 'uninstalled');

/** @throws {Error} where `plexus uninstall` was here. */
export async function refuseAfterUninstall(stateDir: string): Promise<void> {
  const file = uninstalledFile(stateDir);
  const isThere = await access(file).then(
    () => true,
    () => false,
  );
  if (isThere) {
    throw new Error(
      `${file} is there: plexus uninstall took Plexus off this node, and the CNI configuration is not written; plexus install puts it back`,
    );
  }
}
