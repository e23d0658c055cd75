import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonArray, isJsonObject, type JsonObject } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import { generatedConfig, ownName } from '../../daemon/cni-config/keep.ts';
import { NoMasterError } from '../../daemon/cni-config/master.ts';
import type { DaemonConfig } from '../../daemon/config.ts';
import { writeAtomically } from '../../linux/atomic-file.ts';
import { isSystemError } from '../../plugins/host-local/files.ts';
import type { Steps } from './steps.ts';

/**
 * Writes the CNI configuration by which the runtime calls Plexus, as the daemon would.
 *
 * @returns Whether it is there. It is not where there is no default network yet, and the daemon is to write it later.
 * @throws {CniError} naming what is wrong with the default network's configuration, or that there is none.
 */
export async function writeConfiguration(config: DaemonConfig, steps: Steps): Promise<boolean> {
  const { file, compose, problems } = await generatedConfig(config);
  for (const problem of problems) steps.note(file, problem);
  try {
    const { text, from } = await compose();
    if ((await readFile(file, 'utf8').catch(() => undefined)) === text) {
      steps.note(file, `is there already, in front of ${from}`);
      return true;
    }
    await steps.take(file, `written, in front of ${from}`, () => writeAtomically(file, text));
    return true;
  } catch (error) {
    if (!(error instanceof NoMasterError) || config.multusConfigFile !== 'auto') throw error;
    steps.note(file, `left to the daemon: ${error.message}`);
    return false;
  }
}

/** A file in the directory that runtimes read, in their order. */
export interface FoundConfiguration {
  readonly path: string;
  readonly name: string;
  /** The plugins of the list, or the one plugin; undefined for what cannot be understood. */
  readonly plugins: readonly JsonObject[] | undefined;
}

export async function configurations(directory: string): Promise<FoundConfiguration[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  });
  const files = names.filter((name) => /\.(conf|conflist|json)$/.test(name)).sort();
  return Promise.all(
    files.map(async (name) => {
      const path = join(directory, name);
      return { name, path, plugins: await pluginsIn(path) };
    }),
  );
}

async function pluginsIn(path: string): Promise<JsonObject[] | undefined> {
  try {
    const config = parseJson(await readFile(path, 'utf8'), path);
    if (!isJsonObject(config)) return undefined;
    return isJsonArray(config['plugins']) ? config['plugins'].filter(isJsonObject) : [config];
  } catch {
    return undefined;
  }
}

/** Whether it is the file that `plexus install` and the daemon write. */
export const isGenerated = ({ name, plugins }: FoundConfiguration): boolean =>
  name === ownName && plugins?.length === 1 && plugins[0]?.['type'] === 'plexus';

export const callsPlexus = ({ plugins }: FoundConfiguration): boolean =>
  plugins?.some(({ type }) => type === 'plexus') === true;

export const callsMultus = ({ plugins }: FoundConfiguration): boolean =>
  plugins?.some(({ type }) => type === 'multus' || type === 'multus-shim') === true;
