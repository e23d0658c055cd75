import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parseJson } from '../../cni/parse-json.ts';
import type { DaemonConfig } from '../config.ts';
import type { Logger } from '../log.ts';
import { defaultSpoolDir, spoolDirectory } from '../spool/directory.ts';
import { composeConfig } from './compose.ts';
import { ConfigKeeper } from './keeper.ts';
import { findMaster } from './master.ts';
import { pathOnNode, shimSocketDir } from './socket-dir.ts';

/** Runtimes take the first file of the directory by name. */
export const ownName = '00-plexus.conflist';

/**
 * Writes the CNI configuration by which the runtime calls Plexus, and keeps it: with multusConfigFile "auto" from the
 * node's default network, with a path a copy of that file. To be called once the daemon takes calls.
 *
 * @returns undefined when the administrator writes it.
 */
export async function keepCniConfig(config: DaemonConfig, log: Logger): Promise<ConfigKeeper | undefined> {
  const { multusConfigFile: source, cniConfigDir } = config;
  if (source === undefined) return undefined;
  if (source === 'auto') return keepGenerated(config, log);
  const file = join(cniConfigDir, basename(source));
  const compose = async () => {
    const text = await readFile(source, 'utf8');
    parseJson(text, source);
    return { text, from: source };
  };
  return ConfigKeeper.start({ file, compose, directories: [cniConfigDir, dirname(source)], log });
}

async function keepGenerated(config: DaemonConfig, log: Logger): Promise<ConfigKeeper> {
  const { cniConfigDir, multusAutoconfigDir = cniConfigDir, multusMasterCNI } = config;
  let socketDir = await shimSocketDir(config);
  if (socketDir === undefined) {
    ({ socketDir } = config);
    log.warn(
      { socketDir, chrootDir: config.chrootDir },
      'socketDir is not to be found below chrootDir, so the shim is told the same path; daemonSocketDir can tell it another',
    );
  }
  const wishes = { ...config.wishes, socketDir, spoolDir: await toldSpoolDir(config, log) };
  return ConfigKeeper.start({
    file: join(cniConfigDir, ownName),
    compose: async () => {
      const master = await findMaster(multusAutoconfigDir, multusMasterCNI);
      return { text: composeConfig(master, wishes), from: master.path };
    },
    directories: [cniConfigDir, multusAutoconfigDir],
    log,
  });
}

/** The spool as the shim is to see it; undefined where it looks there by itself. */
async function toldSpoolDir(config: DaemonConfig, log: Logger): Promise<string | undefined> {
  const own = spoolDirectory(config);
  const found = config.spoolDir ?? (await pathOnNode(own, config.chrootDir));
  if (found === undefined) {
    log.warn(
      { spool: own, chrootDir: config.chrootDir },
      'the spool is not to be found below chrootDir, so the shim is told nothing of it: requests that it leaves while no ' +
        'daemon answers would be lost; spoolDir can tell it',
    );
  }
  return found === defaultSpoolDir ? undefined : found;
}
