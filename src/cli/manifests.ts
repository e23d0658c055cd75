import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { loadManifests, parseManifests } from '../playground/api/manifests.ts';
import type { KubernetesObject } from '../playground/api/object.ts';

/**
 * Reads what `-f` names: a file, a directory with manifests in it, or `-` for standard input.
 *
 * @throws {Error} naming the file, the document in it, the path in that and what was expected.
 */
export async function readManifests(names: readonly string[]): Promise<KubernetesObject[]> {
  const objects: KubernetesObject[] = [];
  for (const name of names) {
    if (name === '-') objects.push(...parseManifests(await text(process.stdin), 'standard input'));
    else objects.push(...(await loadManifests(await filesOf(name))));
  }
  return objects;
}

/** The file itself; of a directory, the manifests that are right in it, in the order of their names. */
async function filesOf(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(ya?ml|json)$/.test(name)).sort();
  if (names.length === 0) throw new Error(`${path}: expected .yaml, .yml or .json files in it, found none`);
  return names.map((name) => join(path, name));
}
