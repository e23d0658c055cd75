import { CniError, ErrorCode } from '../cni/error.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../cni/json.ts';
import { parseJson } from '../cni/parse-json.ts';
import { matchKeys, parseWith, show } from '../cni/schema.ts';
import { type DeviceType, keysOf, resourceSchema, type Selector, selectorSchema } from './config-schema.ts';

/** One entry of `resourceList`. */
export interface Resource {
  /** As Kubernetes knows it, `prefix/name`. */
  readonly fullName: string;
  readonly prefix: string;
  readonly name: string;
  readonly deviceType: DeviceType;
  /** Whether kubelet is not told of NUMA nodes. */
  readonly excludeTopology: boolean;
  /** More for the _INFO variable, by the id of a device or `*`. */
  readonly additionalInfo: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** A device is taken by the first that matches. Never empty. */
  readonly selectors: readonly Selector[];
}

export interface ResourceConfig {
  readonly resources: readonly Resource[];
  /** What is wrong with entries that are therefore left out, in words. */
  readonly problems: readonly string[];
  /** Paths of keys that nobody here knows, or that do not concern the type of the entry. */
  readonly unknown: readonly string[];
}

/** What the sriov-network-device-plugin takes for a prefix unless told. */
export const defaultPrefix = 'intel.com';

/**
 * Reads the sriov-network-device-plugin's config.json. An entry with a mistake is left out and told of; the others count.
 *
 * @param source What `text` is, for messages.
 * @param prefix Of resources that name none.
 * @throws {CniError} 6 when it is no JSON, 7 when it has no list of resources.
 */
export function parseResourceConfig(text: string, source: string, prefix: string = defaultPrefix): ResourceConfig {
  const entries = entriesOf(parseJson(text, source), source);
  const resources: Resource[] = [];
  const problems: string[] = [];
  const unknown: string[] = [];
  for (const [index, entry] of entries.entries()) {
    const path = `resourceList[${index}]`;
    try {
      const read = readEntry(entry, `${source}: ${path}`, prefix);
      const twin = resources.findIndex(({ fullName }) => fullName === read.resource.fullName);
      if (twin >= 0) throw new Error(`${source}: ${path}: resourceName: ${read.resource.fullName} is there already`);
      resources.push(read.resource);
      unknown.push(...read.unknown.map((key) => `${path}.${key}`));
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
  }
  return { resources, problems, unknown };
}

function entriesOf(json: JsonValue, source: string): readonly JsonValue[] {
  const [, list] = Object.entries(isJsonObject(json) ? json : {}).find(([key]) => isKey(key, 'resourceList')) ?? [];
  if (isJsonArray(list)) return list;
  const problem = `${source}: resourceList: expected a list of resources, found ${show(list)}`;
  throw new CniError(ErrorCode.InvalidNetworkConfig, problem);
}

/** Go's encoding/json, for which such files were written, takes keys in any case. */
const isKey = (key: string, wanted: string): boolean => key.toLowerCase() === wanted.toLowerCase();

function readEntry(json: JsonValue, source: string, defaultPrefix: string) {
  const entry = matchKeys(resourceSchema, json);
  const { resourceName, resourcePrefix, deviceType, excludeTopology, additionalInfo, selectors } = parseWith(
    resourceSchema,
    entry,
    source,
  );
  const prefix = resourcePrefix || defaultPrefix;
  const named = `${source} (${prefix}/${resourceName})`;
  const unknown = isJsonObject(entry) ? unknownKeys(entry, Object.keys(resourceSchema.shape)) : [];
  const read = listOf(selectors).map(({ path, value }) => {
    const selector = parseWith(selectorSchema, value, `${named}: ${path}`);
    if (selector.isRdma && selector.vdpaType !== undefined) {
      throw new Error(`${named}: ${path}: vdpaType and isRdma exclude one another`);
    }
    const known = matchKeys(selectorSchema, value);
    const strange = isJsonObject(known) ? unknownKeys(known, keysOf(deviceType)) : [];
    unknown.push(...strange.map((key) => `${path}.${key}`));
    return selector;
  });
  const resource: Resource = {
    fullName: `${prefix}/${resourceName}`,
    prefix,
    name: resourceName,
    deviceType,
    excludeTopology,
    additionalInfo,
    selectors: read,
  };
  return { resource, unknown };
}

/** One selector, or several; none selects every device of the type. */
function listOf(selectors: JsonValue | undefined): readonly { readonly path: string; readonly value: JsonValue }[] {
  if (isJsonArray(selectors) && selectors.length > 0) {
    return selectors.map((value, index) => ({ path: `selectors[${index}]`, value }));
  }
  return [{ path: 'selectors', value: isJsonArray(selectors) ? {} : (selectors ?? {}) }];
}

function unknownKeys(json: JsonObject, known: readonly string[]): string[] {
  return Object.keys(json).filter((key) => !known.some((each) => isKey(key, each)));
}
