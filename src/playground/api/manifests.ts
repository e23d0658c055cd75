import { readFile } from 'node:fs/promises';
import type { Document } from 'yaml';
import { z } from 'zod';
import { messageOf } from '../../kubernetes/error.ts';
import { issuesOf } from '../../kubernetes/issues.ts';
import { type KubernetesObject, objectSchema } from './object.ts';
import { groupVersion, isName, resourceOf, resources } from './resources.ts';
import { parseYaml } from './yaml.ts';

const listSchema = z.object({ kind: z.literal('List'), items: z.array(z.json()) });

interface Manifest {
  readonly object: KubernetesObject;
  /** File and document, for messages. */
  readonly where: string;
}

/**
 * Reads manifests: YAML or JSON, any number of documents in a file, `kind: List` unfolded.
 *
 * @throws {Error} naming the file, the document in it (from 1), the path in that and what was expected.
 */
export async function loadManifests(files: readonly string[]): Promise<KubernetesObject[]> {
  const loaded = await Promise.all(files.map(async (file) => manifestsOf(await readFile(file, 'utf8'), file)));
  return distinct(loaded.flat());
}

/** The same from text; `file` is only for messages. */
export function parseManifests(text: string, file: string): KubernetesObject[] {
  return distinct(manifestsOf(text, file));
}

function manifestsOf(text: string, file: string): Manifest[] {
  return parseYaml(text).flatMap((document, index) => {
    const where = `${file}, document ${index + 1}`;
    const value = contentOf(document, where);
    // Two separators in a row, or a comment alone.
    if (value === null || value === undefined) return [];
    const list = listSchema.safeParse(value);
    if (!list.success) return [manifestOf(value, where)];
    return list.data.items.map((item, at) => manifestOf(item, `${where}, items[${at}]`));
  });
}

function contentOf(document: Document.Parsed, where: string): unknown {
  const [error] = document.errors;
  try {
    if (error !== undefined) throw error;
    // Aliases are resolved only here, and refused where they would make a document explode.
    return document.toJS();
  } catch (thrown) {
    throw new Error(`${where}: ${messageOf(thrown)}`, { cause: thrown });
  }
}

function manifestOf(value: unknown, where: string): Manifest {
  const parsed = objectSchema.safeParse(value);
  if (!parsed.success) throw new Error(`${where}: ${issuesOf(parsed.error)}`, { cause: parsed.error });
  const object = parsed.data;
  const { apiVersion, kind, metadata } = object;
  if (resourceOf(object) === undefined) {
    const served = resources.map((resource) => `${groupVersion(resource)} ${resource.kind}`).join(', ');
    throw new Error(`${where}: apiVersion, kind: expected one of ${served}, found ${apiVersion} ${kind}`);
  }
  if (!isName(metadata.name)) {
    throw new Error(`${where}: metadata.name: expected a lowercase DNS subdomain, found "${metadata.name}"`);
  }
  return { object, where };
}

/** @throws {Error} where two documents are about the same object: which of them counts nobody could tell. */
function distinct(manifests: readonly Manifest[]): KubernetesObject[] {
  const seen = new Map<string, string>();
  for (const { object, where } of manifests) {
    const { kind, metadata } = object;
    const name = resourceOf(object)?.namespaced ? `${metadata.namespace ?? 'default'}/${metadata.name}` : metadata.name;
    const before = seen.get(`${kind} ${name}`);
    if (before !== undefined) throw new Error(`${where}: ${kind} ${name} is in ${before} already`);
    seen.set(`${kind} ${name}`, where);
  }
  return manifests.map(({ object }) => object);
}
