import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { JsonObject } from '../../cni/json.ts';
import { callDaemon } from '../../daemon/client.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { type Finding, fine, lacking, messageOf } from './finding.ts';

/** STATUS asks the default network's plugins, which may be executed. */
const answerMs = 30_000;

/** Whether the daemon answers, and what: it knows best whether a pod could be attached now. */
export async function checkDaemon(socket: string, config: JsonObject | undefined): Promise<Finding> {
  // STATUS exists from 1.1.0 on, whatever the runtime's configuration is written in.
  const stdin = JSON.stringify({ name: 'plexus', type: 'plexus', ...config, cniVersion: '1.1.0' });
  const env = { CNI_COMMAND: 'STATUS', CNI_PATH: '/opt/cni/bin' };
  try {
    const { exitStatus, stdout } = await callDaemon(socket, { name: 'plexus', env, stdin }, answerMs);
    if (exitStatus === 0) return fine('daemon', `it is ready, ${socket}`);
    const { code, msg } = JSON.parse(stdout);
    return lacking('daemon', `it answers with code ${code}: ${msg}`, 'see its log');
  } catch (error) {
    const remedy = 'start the daemon, or give the directory that it has: --socket-dir; its log says why it ended';
    return lacking('daemon', `none answers at ${socket}: ${messageOf(error)}`, remedy);
  }
}

/** Directories that are written to: the daemon's own, and where host-local keeps its reservations unless told. */
export function checkDirectories({ socketDir, stateDir }: DaemonConfig): Promise<Finding[]> {
  return Promise.all(
    [socketDir, stateDir, '/var/lib/cni/networks'].map(async (directory) => {
      const nearest = await existing(directory);
      try {
        await access(nearest, constants.W_OK);
        return fine('directory', nearest === directory ? directory : `${directory} can be made`);
      } catch (error) {
        return lacking(
          'directory',
          `${directory} cannot be written: ${messageOf(error)}`,
          'mount it writable, or name another',
        );
      }
    }),
  );
}

/** The directory itself, or the nearest one above it that is there. */
async function existing(directory: string): Promise<string> {
  const isThere = await access(directory).then(
    () => true,
    () => false,
  );
  return isThere || directory === '/' ? directory : existing(dirname(directory));
}
