import { z } from 'zod';
import { CniError, ErrorCode, toCniError } from './error.ts';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import type { PluginConfig } from './plugin.ts';
import type { Result, ResultDNS, ResultInterface, ResultIP, ResultRoute } from './result.ts';
import { parseWith, show } from './schema.ts';
import { cniVersions, compareVersions, isCniVersion } from './version.ts';

/*
 * Results changed shape twice. 0.1.0 and 0.2.0 have one address for each family, in `ip4` and `ip6`, with the routes
 * inside, and no interfaces. 0.3.0 to 0.4.0 have lists, and each address says its `version`. 1.0.0 dropped that key.
 * Key order, empty lists and empty `dns` are as libcni writes them, so that output can be compared byte for byte.
 */

const since = (first: string): ReadonlySet<string> =>
  new Set(cniVersions.filter((version) => compareVersions(version, first) >= 0));
const withLists = since('0.3.0');
const withoutAddressVersion = since('1.0.0');

/**
 * Writes a result in the shape of a version.
 *
 * @throws {CniError} 999 in 0.1.0 and 0.2.0 for a result with interfaces but no address, which they cannot express.
 */
export function encodeResult(result: Result, version: string): JsonObject {
  if (!withLists.has(version)) return encode02(result, version);
  return withoutAddressVersion.has(version) ? encode1(result, version) : encode04(result, version);
}

/** The text that a plugin prints on ADD: 4 spaces of indentation, no newline at the end. */
export function renderResult(result: Result, version: string): string {
  return JSON.stringify(encodeResult(result, version), undefined, 4);
}

function encode1(result: Result, version: string): JsonObject {
  const dns = compact(result.dns);
  return sortKeys({
    ...result.extra,
    cniVersion: version,
    ...list('interfaces', result.interfaces.map(compact)),
    ...list('ips', result.ips.map(compact)),
    ...list('routes', result.routes.map(compact)),
    ...(Object.keys(dns).length > 0 && { dns }),
  });
}

function encode04(result: Result, version: string): JsonObject {
  return {
    cniVersion: version,
    ...list('interfaces', result.interfaces.map(encodeInterface04)),
    ...list('ips', result.ips.map(encodeIP04)),
    ...list('routes', result.routes.map(compact)),
    dns: compact(result.dns),
    ...result.extra,
  };
}

function encodeInterface04(each: ResultInterface): JsonObject {
  const { mtu: _mtu, socketPath: _socketPath, pciID: _pciID, ...rest } = each;
  return compact(rest);
}

function encodeIP04(ip: ResultIP): JsonObject {
  const { interface: index, address, gateway, ...rest } = ip;
  return compact({ version: String(familyOf(address)), interface: index, address, gateway, ...rest });
}

function encode02(result: Result, version: string): JsonObject {
  const ip4 = encodeFamily(result, 4);
  const ip6 = encodeFamily(result, 6);
  if (ip4 === undefined && ip6 === undefined && (result.interfaces.length > 0 || result.routes.length > 0)) {
    throw new CniError(
      ErrorCode.Internal,
      'cannot convert: no valid IP addresses',
      `a result in cniVersion ${version} must have an address; a network without ipam needs 0.3.0 or newer`,
    );
  }
  return { cniVersion: version, ...(ip4 && { ip4 }), ...(ip6 && { ip6 }), dns: compact(result.dns), ...result.extra };
}

/** The first address of a family with the family's routes. Further addresses have no place in these versions. */
function encodeFamily(result: Result, family: 4 | 6): JsonObject | undefined {
  const ip = result.ips.find((each) => familyOf(each.address) === family);
  if (ip === undefined) return undefined;
  const routes = result.routes
    .filter((route) => familyOf(route.dst) === family)
    .map((route) => compact({ dst: route.dst, gw: route.gw }));
  return { ip: ip.address, ...(ip.gateway && { gateway: ip.gateway }), ...list('routes', routes) };
}

/** By the colon, not by parsing: a delegate's result passes on whatever its addresses look like. */
function familyOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

function list(key: string, values: readonly JsonObject[]): JsonObject {
  return values.length > 0 ? { [key]: values } : {};
}

/** A plain copy without the keys that are undefined. Keys that no specification names stay. */
function compact(object: ResultInterface | ResultIP | ResultRoute | ResultDNS | JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

function sortKeys(object: JsonObject): JsonObject {
  const sorted = Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map(([key, value]) => [key, value === undefined ? undefined : sortValue(value)]));
}

function sortValue(value: JsonValue): JsonValue {
  if (isJsonObject(value)) return sortKeys(value);
  return isJsonArray(value) ? value.map(sortValue) : value;
}

// Results come from other people's plugins: only what is needed to use them is asked of them, and keys that no
// specification names stay where they were. Go's encoding/json writes null for a list and "" for an address that is not there.
const optionalText = z
  .string()
  .nullish()
  .transform((text) => text || undefined);
const optionalNumber = z
  .number()
  .nullish()
  .transform((value) => value ?? undefined);
const optionalTexts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? undefined);
const listOf = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((value) => value ?? []);

const interfaceSchema = z.looseObject({
  name: z.string().default(''),
  mac: optionalText,
  mtu: optionalNumber,
  sandbox: optionalText,
  socketPath: optionalText,
  pciID: optionalText,
});
const ipSchema = z.looseObject({
  /** Up to 0.4.0. The address says the same. */
  version: z.unknown().optional(),
  address: z.string(),
  gateway: optionalText,
  interface: optionalNumber,
});
const routeSchema = z.looseObject({
  dst: z.string(),
  gw: optionalText,
  mtu: optionalNumber,
  advmss: optionalNumber,
  priority: optionalNumber,
  table: optionalNumber,
  scope: optionalNumber,
});
const dnsSchema = z
  .looseObject({
    nameservers: optionalTexts,
    domain: optionalText,
    search: optionalTexts,
    options: optionalTexts,
  })
  .nullish()
  .transform((dns) => dns ?? {});
const familySchema = z.looseObject({ ip: z.string(), gateway: optionalText, routes: listOf(routeSchema) }).nullish();

const resultSchema = z.object({
  interfaces: listOf(interfaceSchema),
  ips: listOf(ipSchema),
  routes: listOf(routeSchema),
  dns: dnsSchema,
});
const result02Schema = z.object({ ip4: familySchema, ip6: familySchema, dns: dnsSchema });

/**
 * Reads a result of any version.
 *
 * @param version The version of a result that does not say its own: that of the configuration the plugin was given.
 * @param source Whose result it is, as the message begins.
 * @throws {CniError} 1 when the version is unknown, 6 when the shape is not the version's.
 */
export function decodeResult(json: JsonValue, version: string, source: string): Result {
  if (!isJsonObject(json)) {
    throw new CniError(ErrorCode.DecodingFailure, `${source}: expected a JSON object, found ${show(json)}`);
  }
  const stated = json['cniVersion'] || version;
  if (typeof stated !== 'string' || !isCniVersion(stated)) {
    throw new CniError(
      ErrorCode.IncompatibleVersion,
      `${source}: cniVersion: expected one of ${cniVersions.join(', ')}, found ${show(stated)}`,
    );
  }
  return withLists.has(stated) ? decodeLists(json, source) : decode02(json, source);
}

/**
 * The result of the plugin before, or of the whole ADD, that a configuration carries.
 *
 * @throws {CniError} 7 when it is not a result.
 */
export function readPrevResult(config: PluginConfig): Result | undefined {
  const json = config['prevResult'];
  if (json === undefined || json === null) return undefined;
  try {
    return decodeResult(json, config.cniVersion, `network "${config.name}": prevResult`);
  } catch (thrown) {
    throw new CniError(ErrorCode.InvalidNetworkConfig, toCniError(thrown).message, '', { cause: thrown });
  }
}

function decodeLists(json: JsonObject, source: string): Result {
  const { cniVersion: _cniVersion, interfaces: _interfaces, ips: _ips, routes: _routes, dns: _dns, ...extra } = json;
  const parsed = parseWith(resultSchema, json, source, ErrorCode.DecodingFailure);
  return {
    interfaces: parsed.interfaces.map(withoutUndefined),
    ips: parsed.ips.map(({ version: _version, ...ip }) => withoutUndefined(ip)),
    routes: parsed.routes.map(withoutUndefined),
    dns: withoutUndefined(parsed.dns),
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}

function decode02(json: JsonObject, source: string): Result {
  const { cniVersion: _cniVersion, ip4: _ip4, ip6: _ip6, dns: _dns, ...extra } = json;
  const parsed = parseWith(result02Schema, json, source, ErrorCode.DecodingFailure);
  const families = [parsed.ip4, parsed.ip6].filter((family) => family !== null && family !== undefined);
  return {
    interfaces: [],
    ips: families.map(({ ip, gateway }) => withoutUndefined({ address: ip, gateway })),
    routes: families.flatMap((family) => family.routes.map(withoutUndefined)),
    dns: withoutUndefined(parsed.dns),
    ...(Object.keys(extra).length > 0 && { extra }),
  };
}

function withoutUndefined<T extends object>(object: T): T {
  const copy = { ...object };
  for (const key of Object.keys(copy)) if (Reflect.get(copy, key) === undefined) Reflect.deleteProperty(copy, key);
  return copy;
}
