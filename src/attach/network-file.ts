import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CniError, ErrorCode } from '../cni/error.ts';
import { isJsonObject } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import { withPluginFiles } from '../cni/plugin-files.ts';

/** A network's configuration as a file has it. */
export interface NetworkFile {
  /** The text of a plugin's configuration or a conflist. */
  readonly config: string;
  /** Where it was found, for error messages. */
  readonly source: string;
  /** The network's name where the configuration has none. */
  readonly name: string;
}

/** The names of the meta-plugin, ours and Multus': a network that is one of these would call itself for ever. */
export const metaPlugins: ReadonlySet<unknown> = new Set(['plexus', 'multus', 'multus-shim']);

/** What was in a file that every pod needs. */
interface Remembered {
  readonly mark: string;
  /** Where plugins would be that others add to the network. */
  readonly directory: string;
  readonly file: NetworkFile;
}

const remembered = new Map<string, Remembered>();

/** Networks of a node that are in files are few. */
const maxRemembered = 64;

/** Milliseconds: a file that was changed later than that may be changed once more and have the same times as before. */
const settledAfter = 1_000;

/**
 * Reads the configuration of a network, with the plugins that others add to it. What has not changed is not read again.
 *
 * @returns undefined when it is the meta-plugin's own.
 * @throws {CniError} for what is no configuration; the disk's own error for what cannot be read.
 */
export async function readNetworkFile(path: string): Promise<NetworkFile | undefined> {
  const mark = markOf(path);
  const before = remembered.get(path);
  if (before !== undefined && before.mark === mark && !isThere(before.directory)) return before.file;
  const text = await readFile(path, 'utf8');
  const file = await networkIn(text, path);
  // What others have added to it changes without it.
  if (mark !== undefined && file?.config === text) remember(path, mark, file);
  return file;
}

/**
 * What a file has for as long as it stays as it is; undefined for one that has just been changed. The kernel has it in
 * memory, as that of every file that was read a moment ago: nobody waits for a disk.
 */
function markOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isFile() || Math.abs(Date.now() - found.ctimeMs) < settledAfter) return undefined;
  return [found.dev, found.ino, found.size, found.mtimeMs, found.ctimeMs].join();
}

const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

function remember(path: string, mark: string, file: NetworkFile): void {
  if (remembered.size >= maxRemembered) remembered.clear();
  remembered.set(path, { mark, directory: join(dirname(path), file.name), file });
}

async function networkIn(text: string, path: string): Promise<NetworkFile | undefined> {
  const json = parseJson(text, path);
  if (!isJsonObject(json)) throw new CniError(ErrorCode.DecodingFailure, `${path}: expected a JSON object`);
  const plugins = Array.isArray(json['plugins']) ? json['plugins'] : [json];
  if (plugins.some((plugin) => isJsonObject(plugin) && metaPlugins.has(plugin['type']))) return undefined;
  const name = typeof json['name'] === 'string' ? json['name'] : '';
  return { config: await withPluginFiles(text, path), source: path, name };
}
