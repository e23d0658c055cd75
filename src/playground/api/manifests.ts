import { readFile } from 'node:fs/promises';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { issuesOf } from '../../kubernetes/issues.ts';
import { type KubernetesObject, objectSchema } from './object.ts';
import { groupVersion, resourceOf, resources } from './resources.ts';

const listSchema = z.object({ kind: z.literal('List'), items: z.array(z.json()) });

/**
 * Reads manifests: YAML or JSON, any number of documents in a file, `kind: List` unfolded.
 *
 * @throws {Error} naming the file, the document in it (from 1), the path in that and what was expected.
 */
export async function loadManifests(files: readonly string[]): Promise<KubernetesObject[]> {
  const loaded = await Promise.all(files.map(async (file) => parseManifests(await readFile(file, 'utf8'), file)));
  return loaded.flat();
}

/** The same from text; `file` is only for messages. */
export function parseManifests(text: string, file: string): KubernetesObject[] {
  return [...parseAllDocuments(text)].flatMap((document, index) => {
    const where = `${file}, document ${index + 1}`;
    const [error] = document.errors;
    if (error !== undefined) throw new Error(`${where}: ${error.message}`, { cause: error });
    const value: unknown = document.toJS();
    // Two separators in a row, or a comment alone.
    if (value === null || value === undefined) return [];
    const list = listSchema.safeParse(value);
    if (!list.success) return [objectOf(value, where)];
    return list.data.items.map((item, at) => objectOf(item, `${where}, items[${at}]`));
  });
}

function objectOf(value: unknown, where: string): KubernetesObject {
  const parsed = objectSchema.safeParse(value);
  if (!parsed.success) throw new Error(`${where}: ${issuesOf(parsed.error)}`, { cause: parsed.error });
  const object = parsed.data;
  if (resourceOf(object) === undefined) {
    const served = resources.map((resource) => `${groupVersion(resource)} ${resource.kind}`).join(', ');
    throw new Error(
      `${where}: apiVersion, kind: ${object.apiVersion} ${object.kind} is not served here; expected ${served}`,
    );
  }
  if (object.metadata.name === '') throw new Error(`${where}: metadata.name: expected a name`);
  return object;
}
