import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue } from '../../src/cni/json.ts';
import type { Names } from './names.ts';
import { mustRun } from './node.ts';

/* All that a plugin can leave on a node, in its pod and on its disk. */

/** Sections, in the order of {@link linesOf}. One batch for each family: routes, rules and neighbours. */
const script = `
links=$(ip -j -d address) || exit
printf '%s\\n' "$links"
for family in -4 -6; do
  printf 'route show table all\\nrule show\\nneigh show nud permanent\\n' | ip -j -d $family -batch - || exit
done
echo ==
case $links in *'"bridge"'*) bridge -j vlan show 2>/dev/null ;; esac
echo ==
if command -v nft >/dev/null; then
  rules=$(nft list ruleset) || exit
  printf '%s\\n' "$rules"
  # nft shows not all that iptables means.
  case $rules in *'table ip '*|*'table ip6 '*) iptables-save && ip6tables-save || exit ;; esac
fi
echo ==
# Queues where there are others than the kernel's own, which what ip has said tells.
case $links in *'"qdisc":"'[ht][tb][bf]'"'*)
  tc -j -d qdisc show || exit
  for name in $(printf '%s' "$links" | grep -o '"ifname":"[^"]*"' | cut -d '"' -f 4); do
    echo "@$name"
    # It may be gone by now.
    printf "%s dev $name\\n" 'class show' 'filter show' 'filter show ingress' | tc -j -d -batch - 2>/dev/null
  done ;;
esac
echo ==
cd /proc/sys/net && grep -rs . ipv4/conf ipv6/conf
true
`;

/** What differs from moment to moment, such as carrier and timers, and the kernel's own numbers for things. */
const passingKeys = /^(ifindex|operstate|\w+_timer|age|used|link_index|link_netnsid)$/;
/** Of queues: numbers of actions, and how many there are of something. */
const passingQueueKeys = /^(index|ref|bind|refcnt)$/;
const passingFlags = ['LOWER_UP', 'NO-CARRIER', 'M-DOWN', 'linkdown', 'dead'];

/** Where a case is played: paths of the namespaces, and of the directory in which IPAM plugins keep their files. */
export interface Scene {
  readonly node: string;
  readonly pod: string;
  readonly data: string;
}

/** All that is seen, by the names that it has there, which are known from then on. */
export async function snapshot({ node, pod, data }: Scene, names: Names): Promise<JsonValue> {
  const [inNode, inPod] = await Promise.all([linesOf(node), linesOf(pod)]);
  names.learn([...inPod.links, ...inNode.links].map(ownerOf));
  return names.value({
    node: describeNamespace(inNode, inPod),
    pod: describeNamespace(inPod, inNode),
    disk: await describeDirectory(data),
  });
}

function ownerOf({ ifname, address, linkinfo }: JsonObject) {
  const isBridge = isJsonObject(linkinfo) && linkinfo['info_kind'] === 'bridge';
  return { name: String(ifname), mac: String(address), isBridge };
}

/** What a node has that has no pod. */
export async function describeNode(path: string): Promise<JsonObject> {
  const lines = await linesOf(path);
  return describeNamespace(lines, lines);
}

interface Lines {
  readonly links: readonly JsonObject[];
  readonly families: readonly (readonly [string, readonly (readonly JsonObject[])[]])[];
  readonly vlans: readonly JsonObject[];
  readonly filter: readonly string[];
  readonly queues: readonly string[];
  readonly sysctls: readonly string[];
}

async function linesOf(namespace: string): Promise<Lines> {
  const sections = (await mustRun(namespace, ['sh', '-c', script])).split(/^==\n/m);
  const [network = [], vlans = [], filter = [], queues = [], sysctls = []] = sections.map((section) =>
    section.split('\n').filter((line) => line !== ''),
  );
  const [links = [], ...tables] = network.map(parseList);
  return {
    links: links.toSorted((a, b) => Number(a['ifindex']) - Number(b['ifindex'])),
    families: [
      ['inet', tables.slice(0, 3)],
      ['inet6', tables.slice(3)],
    ],
    vlans: vlans.flatMap(parseList),
    filter,
    queues,
    sysctls,
  };
}

function parseList(line: string): readonly JsonObject[] {
  const json: unknown = JSON.parse(line);
  return isJsonArray(json) ? json.filter(isJsonObject) : [];
}

function describeNamespace({ links, families, vlans, filter, queues, sysctls }: Lines, other: Lines): JsonObject {
  const each = (index: number, keys: readonly string[]): JsonObject =>
    Object.fromEntries(
      families.flatMap(([family, tables]) => (tables[index] ?? []).map((row) => keyed(row, keys, family))),
    );
  return {
    links: Object.fromEntries(links.map((link) => [String(link['ifname']), describeLink(link, other)])),
    routes: each(0, ['table', 'type', 'dst', 'gateway', 'dev', 'metric']),
    rules: each(1, ['priority', 'src', 'srclen', 'dst', 'iif', 'table']),
    neighbours: each(2, ['dst', 'dev']),
    vlans: Object.fromEntries(vlans.map((port) => [String(port['ifname']), port])),
    filter: describeFilter(filter),
    queues: describeQueues(queues),
    sysctls: describeSysctls(sysctls),
  };
}

/**
 * @param lines What nft(8) lists, blocks in braces, and what iptables-save(8) does, blocks that end with COMMIT.
 * @returns The lines of each block, in order, by the headers of the blocks around them.
 */
function describeFilter(lines: readonly string[]): JsonObject {
  const blocks = new Map<string, string[]>();
  const open: string[] = [];
  for (const line of lines.map((each) => each.trim().replace(/packets \d+ bytes \d+|\[\d+:\d+\]/, ''))) {
    if (/^(#|comment )/.test(line)) continue;
    if (line === '}' || line === 'COMMIT') {
      open.pop();
    } else if (/\{$|^\*/.test(line)) {
      open.push(line.replace(/ \{$/, ''));
      blocks.set(freeName(blocks, open.join(', ')), []);
    } else {
      [...blocks.values()].at(-1)?.push(line);
    }
  }
  // Those of iptables, which it has told itself.
  const own = [...blocks].filter(([name]) => !/^table ip6? (filter|nat|mangle|raw|security)\b/.test(name));
  return Object.fromEntries(own);
}

/** ip6tables-save has tables of the same names as iptables-save before it. */
function freeName(blocks: ReadonlyMap<string, unknown>, name: string): string {
  return blocks.has(name) ? freeName(blocks, `${name} again`) : name;
}

/**
 * @param lines The qdiscs of all interfaces; behind each `@` and the name of one, its classes and filters. JSON for all that
 *   tc(8) has JSON for.
 * @returns Qdiscs, and what else there is, by interface.
 */
function describeQueues(lines: readonly string[]): JsonObject {
  const [first = '[]', ...rest] = lines;
  const described: Record<string, JsonValue[]> = {};
  for (const { dev, ...qdisc } of parseList(first)) {
    const list = described[String(dev)] ?? [];
    list.push(withoutNumbers(qdisc));
    described[String(dev)] = list;
  }
  let name = '';
  for (const line of rest) {
    if (line.startsWith('@')) name = line.slice(1);
    else described[name]?.push(...(line.startsWith('[') ? parseList(line).map(withoutNumbers) : [line.trim()]));
  }
  return described;
}

const withoutNumbers = (row: JsonObject): JsonValue => withoutKeys(row, passingQueueKeys);

function withoutKeys(value: JsonValue, keys: RegExp): JsonValue {
  if (isJsonArray(value)) return value.map((item) => withoutKeys(item, keys));
  if (!isJsonObject(value)) return value;
  const entries = Object.entries(value).filter(([key]) => !keys.test(key));
  return Object.fromEntries(entries.map(([key, item]) => [key, item === undefined ? item : withoutKeys(item, keys)]));
}

/** @param lines Such as `ipv4/conf/net1/arp_notify:1`. @returns Them by interface. */
function describeSysctls(lines: readonly string[]): JsonObject {
  const settings = lines.flatMap((line) => {
    const [, family, name, rest] = line.match(/^(ipv[46])\/conf\/([^/]+)\/(.*)$/) ?? [];
    const [key = '', value = ''] = rest?.split(':') ?? [];
    return name === undefined ? [] : { name, key: `${family} ${key}`, value };
  });
  const interfaces = Object.groupBy(settings, ({ name }) => name);
  const entries = Object.entries(interfaces).map(([name, own = []]): [string, JsonObject] => [
    name,
    Object.fromEntries(own.map(({ key, value }) => [key, value])),
  ]);
  return Object.fromEntries(entries);
}

function describeLink({ addr_info, ...link }: JsonObject, other: Lines): JsonObject {
  const list = isJsonArray(addr_info) ? addr_info.filter(isJsonObject) : [];
  const peer = other.links.find(({ ifindex }) => ifindex === link['link_index']);
  return {
    ...lasting(link),
    ...(link['link_index'] !== undefined && { link: `${peer?.['ifname']}, in the other namespace` }),
    addresses: Object.fromEntries(list.map((address) => keyed(address, ['local', 'prefixlen']))),
  };
}

/** A row under what tells it from others. */
function keyed(row: JsonObject, keys: readonly string[], family = String(row['family'])): [string, JsonObject] {
  const key = keys.flatMap((name) => (row[name] === undefined ? [] : `${name} ${row[name]}`)).join(' ');
  const rest = Object.entries(row).filter(([name]) => !keys.includes(name));
  return [`${family} ${key}`.replaceAll('/', '|'), lasting(Object.fromEntries(rest))];
}

function lasting(object: JsonObject): JsonObject {
  const entries = Object.entries(object).filter(([key]) => !passingKeys.test(key));
  return Object.fromEntries(entries.map(([key, value]) => [key, value === undefined ? value : lastingValue(value)]));
}

function lastingValue(value: JsonValue): JsonValue {
  if (isJsonObject(value)) return lasting(value);
  if (!isJsonArray(value)) return value;
  return value.filter((item) => !passingFlags.some((flag) => flag === item)).map(lastingValue);
}

/** Files by name, with their permissions and content. */
async function describeDirectory(directory: string): Promise<JsonObject> {
  const entries = await readdir(directory, { withFileTypes: true });
  const described = entries.map(async (entry): Promise<[string, JsonValue]> => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return [entry.name, await describeDirectory(path)];
    const mode = (await stat(path)).mode & 0o777;
    const content = entry.isFile() ? await readFile(path, 'utf8') : 'no file';
    return [entry.name, { mode: mode.toString(8), content }];
  });
  return Object.fromEntries(await Promise.all(described));
}
