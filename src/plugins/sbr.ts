import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result, ResultIP } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { addresses } from '../linux/address.ts';
import { isKernelError } from '../linux/errors.ts';
import { links } from '../linux/link.ts';
import { mainTable, type Route, routes } from '../linux/route.ts';
import { type Rule, rules } from '../linux/rule.ts';
import { contains, equalIP, formatIP, hostPrefix, type IP, parseIP, parsePrefix } from '../net/ip.ts';
import { Container, configure } from './container-interface.ts';

const schema = z.object({
  /** The table that is to be asked, which somebody else fills. Absent: one of its own for each address. */
  table: z.int().min(1).max(0xffffffff).optional(),
});

/** The tables below may be in use; the kernel's own are at 253 to 255. */
const firstTable = 100;

/**
 * Source based routing: what a container sends from an address of the interface leaves by that interface, whatever the
 * container's other interfaces and default route are. The interface's routes move from the main table to a table for each
 * address, and a rule leads there what comes from the address.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists: an ADD that fails
 * leaves the routes where they were, a table with routes in it is not taken, and CHECK looks for the rules.
 */
export const sbr: Plugin = {
  type: 'sbr',
  versions: cniVersions,

  validate({ config }) {
    parsePluginConfig(schema, config);
  },

  async add(call) {
    const { ifName } = call.attachment;
    const { table } = parsePluginConfig(schema, call.config);
    const prevResult = requirePrevResult(call);
    const ips = ipsOf(prevResult, ifName);
    using container = Container.open(call.attachment);
    const { netlink } = container;
    const { index } = await container.link(ifName);
    const [ruleList, routeList] = await netlink.run(rules.list(), routes.list());

    const plan =
      table === undefined
        ? planOwnTables(
            ips,
            index,
            routeList,
            [...ruleList, ...routeList].map((each) => each.table ?? mainTable),
          )
        : { copies: [], rules: ips.map(({ ip }) => ruleOf(ip, table)), moved: [] };
    await using undo = new AsyncDisposableStack();
    undo.defer(async () => void (await netlink.settle(...plan.copies.map(routes.delete))));
    await configure(container, ifName, plan.copies.map(routes.replace));
    for (const rule of plan.rules) {
      await configure(container, ifName, [rules.add(rule)]);
      undo.defer(async () => void (await netlink.settle(rules.delete(rule))));
    }
    undo.defer(async () => void (await netlink.settle(...plan.moved.map(routes.replace))));
    await configure(container, ifName, plan.moved.map(routes.delete));
    undo.move();
    return prevResult;
  },

  /** The routes go with the interface. The rules are those of its addresses, and of the result's once it is gone. */
  async delete({ attachment, prevResult }) {
    const { ifName, netns } = attachment;
    using container = Container.openIfAny(attachment);
    if (container === undefined) return;
    const { netlink } = container;
    const [link] = await netlink.settle(links.get({ name: ifName }));
    const [present] = link?.ok === true ? await netlink.run(addresses.list({ index: link.value.index })) : [[]];
    const given = prevResult?.ips.filter((ip) => isOn(prevResult, ip, ifName, netns)) ?? [];
    const own = [...present.map(({ address }) => address.ip), ...given.map(({ address }) => parsePrefix(address).ip)];
    const [all] = await netlink.run(rules.list());
    const ours = all.filter(({ source }) => source !== undefined && own.some((ip) => equalIP(ip, source.ip)));
    for (const outcome of await netlink.settle(...ours.map(rules.delete))) {
      if (!outcome.ok && !isKernelError(outcome.error, 'ENOENT')) throw outcome.error;
    }
  },

  async check(call) {
    const { table } = parsePluginConfig(schema, call.config);
    const ips = ipsOf(requirePrevResult(call), call.attachment.ifName);
    using container = Container.open(call.attachment);
    const [all] = await container.netlink.run(rules.list());
    for (const { ip } of ips) {
      const found = all.some(
        (rule) => rule.source !== undefined && equalIP(rule.source.ip, ip) && (table ?? rule.table) === rule.table,
      );
      if (!found) throw new CniError(ErrorCode.Internal, `no rule leads what comes from ${formatIP(ip)} to a table`);
    }
  },
};

function requirePrevResult({ prevResult }: PluginCall): Result {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(ErrorCode.InvalidNetworkConfig, 'This plugin must be called as chained plugin');
}

/** An address of the interface, with the subnet that it is in. */
interface OwnIP {
  readonly ip: IP;
  readonly subnet: ReturnType<typeof parsePrefix>;
  readonly gateway: IP | undefined;
}

function ipsOf(result: Result, ifName: string): readonly OwnIP[] {
  if (result.ips.length === 0) {
    throw new CniError(ErrorCode.InvalidNetworkConfig, `No IP addresses supplied on interface: ${ifName}`);
  }
  return result.ips
    .filter(({ interface: place }) => place === undefined || (result.interfaces[place]?.name ?? ifName) === ifName)
    .map(({ address, gateway }) => {
      const subnet = parsePrefix(address);
      return { ip: subnet.ip, subnet, gateway: gateway === undefined ? undefined : parseIP(gateway) };
    });
}

/** Whether an address is that of the container's interface: a rule of another interface must not go with it. */
function isOn({ interfaces }: Result, { interface: place }: ResultIP, ifName: string, netns: string): boolean {
  const found = place === undefined ? undefined : interfaces[place];
  return found === undefined ? place === undefined : found.name === ifName && (netns === '' || found.sandbox === netns);
}

const ruleOf = (ip: IP, table: number): Rule => ({ family: ip.family, source: hostPrefix(ip), table });

interface RoutingPlan {
  readonly copies: readonly Route[];
  readonly rules: readonly Rule[];
  /** Those to take out of the main table. */
  readonly moved: readonly Route[];
}

/** @param taken Tables that something leads to, or that have routes. */
function planOwnTables(
  ips: readonly OwnIP[],
  index: number,
  all: readonly Route[],
  taken: readonly number[],
): RoutingPlan {
  const moved = all.filter((route) => route.table === mainTable && route.index === index);
  const tables = freeTables(new Set(taken));
  const plans = ips.map((own) => {
    const table = tables.next().value;
    const copies = moved.filter((route) => concerns(route, own)).map((route) => ({ ...route, table }));
    return { copies: [...defaultRoute(own, index, table), ...copies], rule: ruleOf(own.ip, table) };
  });
  return { copies: plans.flatMap(({ copies }) => copies), rules: plans.map(({ rule }) => rule), moved };
}

function* freeTables(taken: ReadonlySet<number>): Generator<number, never> {
  for (let table = firstTable; ; table++) if (!taken.has(table)) yield table;
}

/** A plugin before may have taken it away, and the main table need not have it. */
function defaultRoute({ ip, gateway }: OwnIP, index: number, table: number): readonly Route[] {
  return gateway === undefined ? [] : [{ family: ip.family, gateway, index, table }];
}

/** Whether a route is of an address' subnet, or of none. */
function concerns({ source, gateway }: Route, { subnet }: OwnIP): boolean {
  if (source === undefined && gateway === undefined) return true;
  return [source, gateway].some((ip) => ip !== undefined && contains(subnet, ip));
}
