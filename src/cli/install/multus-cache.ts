import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isJsonObject, type JsonObject } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import { parseWith } from '../../cni/schema.ts';
import { isSystemError } from '../../plugins/host-local/files.ts';

/* What Multus 4 keeps of pods that run: pkg/multus, saveDelegates; and libcni for it: libcni/api.go, cachedInfo. */

const jsonObject = z.custom<JsonObject>(isJsonObject, 'expected an object');

/** Go writes bytes in base64. */
const bytes = z.base64('expected base64').transform((text) => Buffer.from(text, 'base64').toString());

const named = z.looseObject({ Name: z.string().optional(), name: z.string().optional() });

const delegate = z.looseObject({
  /** `namespace/name` of a definition, or the name in its configuration. */
  Name: z.string(),
  Conf: named.optional(),
  ConfList: named.optional(),
  /** Where the network's file is a list: what Bytes has lost of it (4.3). */
  CNINetworkConfigList: named
    .extend({ Plugins: z.array(z.looseObject({ Bytes: bytes })).nullish(), CNIVersion: z.string().optional() })
    .optional(),
  ifnameRequest: z.string().optional(),
  Bytes: bytes,
});

const delegates = z.array(delegate).min(1, 'expected at least the default network');

const result = z.looseObject({
  kind: z.literal('cniCacheV1'),
  containerId: z.string(),
  ifName: z.string(),
  networkName: z.string(),
  netns: z.string().default(''),
  config: bytes,
  cniArgs: z.array(z.tuple([z.string(), z.string()])).default([]),
  capabilityArgs: jsonObject.default({}),
  result: jsonObject,
});

export interface Delegate {
  readonly name: string;
  /** The name in its configuration, by which libcni keeps its result. */
  readonly networkName: string;
  readonly ifName: string | undefined;
  /** The whole list, where Multus read one from a file. */
  readonly list: string | undefined;
}

export interface CachedResult extends z.infer<typeof result> {
  readonly path: string;
}

/** What Multus knows of one sandbox. */
export interface CachedSandbox {
  readonly containerId: string;
  readonly path: string;
  readonly delegates: readonly Delegate[];
}

/** The containers that Multus' directory has a file of. */
export async function cachedContainers(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(noneIfMissing);
  return entries.filter((entry) => entry.isFile() && /^[\w.-]+$/.test(entry.name)).map(({ name }) => name);
}

/** @throws {CniError} naming the file, the path in it and what was expected. */
export async function readCached(directory: string, containerId: string): Promise<CachedSandbox> {
  const path = join(directory, containerId);
  const parsed = parseWith(delegates, parseJson(await readFile(path, 'utf8'), path), path);
  return {
    containerId,
    path,
    delegates: parsed.map(({ Name, Conf, ConfList, CNINetworkConfigList: list, ifnameRequest }) => {
      const networkName = list?.Name || ConfList?.name || Conf?.name || '';
      const plugins = list?.Plugins?.map(({ Bytes }): unknown => JSON.parse(Bytes)) ?? [];
      const whole = { cniVersion: list?.CNIVersion, name: networkName, plugins };
      return {
        name: Name,
        networkName,
        ifName: ifnameRequest || undefined,
        list: plugins.length > 0 ? JSON.stringify(whole) : undefined,
      };
    }),
  };
}

/** The results of a sandbox, by libcni. Files that cannot be understood are passed over: what they tell is missing then. */
export async function cachedResults(directory: string, containerId: string): Promise<CachedResult[]> {
  const names = await readdir(join(directory, 'results')).catch(noneIfMissing);
  const found: CachedResult[] = [];
  for (const name of names.filter((each) => String(each).includes(`-${containerId}-`))) {
    const path = join(directory, 'results', String(name));
    try {
      const cached = parseWith(result, parseJson(await readFile(path, 'utf8'), path), path);
      if (cached.containerId === containerId) found.push({ ...cached, path });
    } catch {
      // Told of as a network without a result.
    }
  }
  return found;
}

function noneIfMissing(error: unknown): [] {
  if (isSystemError(error, 'ENOENT')) return [];
  throw error;
}
