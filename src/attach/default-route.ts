import { CniError, ErrorCode } from '../cni/error.ts';
import type { Result, ResultRoute } from '../cni/result.ts';
import type { DefaultRoute } from '../journal/entry.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { mainTable, type Route, routes } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { equalIP, formatIP, type IP, parseIP } from '../net/ip.ts';

/** An attachment, with what its pod wants of it. */
export interface RoutedAttachment {
  readonly network: string;
  readonly ifName: string;
  /**
   * Gateways of the pod's default route, at most one for each family, where the pod wants it on this network; empty for
   * those of the network itself.
   */
  readonly defaultRoute?: readonly string[] | undefined;
  readonly result: Result;
}

/** A default route that an attachment gets, and all others lose. */
interface Way {
  readonly ifName: string;
  readonly family: 4 | 6;
  /** Undefined: all of the world is on the link. */
  readonly gateway: IP | undefined;
}

const families = [4, 6] as const;

const destinations = { 4: '0.0.0.0/0', 6: '::/0' } as const;

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);

/** Whether it is a default route of the table that everybody looks at. */
export function isDefaultRoute({ dst, table = mainTable }: ResultRoute): boolean {
  return dst.endsWith('/0') && table === mainTable;
}

/** Where a default route leads: a route that names no gateway goes through the first of its family. */
export function gatewayOf({ dst, gw }: Pick<ResultRoute, 'dst' | 'gw'>, { ips }: Result): string | undefined {
  return gw ?? ips.find(({ gateway }) => gateway && familyOf(gateway) === familyOf(dst))?.gateway;
}

/**
 * What an attachment takes over of the pod's default routes, IPv4 and IPv6 apart.
 *
 * @throws {CniError} 7 where neither the pod nor the network names a way.
 */
function waysOf({ network, ifName, defaultRoute, result }: RoutedAttachment): readonly Way[] {
  if (defaultRoute === undefined) return [];
  const named = defaultRoute.map(parseIP).map((gateway) => ({ ifName, family: gateway.family, gateway }));
  if (named.length > 0) return named;
  const own = families.flatMap((family) => {
    const dst = destinations[family];
    const route = result.routes.find((each) => isDefaultRoute(each) && familyOf(each.dst) === family);
    const gateway = gatewayOf(route ?? { dst }, result);
    return route || gateway ? [{ ifName, family, gateway: gateway === undefined ? undefined : parseIP(gateway) }] : [];
  });
  if (own.length > 0) return own;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network ${network}, interface ${ifName}: the pod asks for its default route by "default-route": [], but the network ` +
      'has no gateway and no default route',
    'name the gateway in "default-route", add "routes": [{ "dst": "0.0.0.0/0" }] and a gateway to the ipam of the ' +
      'network, or remove "default-route"',
  );
}

/**
 * The attachments with results as if each network had made just those default routes that the pod has in the end: this is
 * what CHECK is to find, and what network-status tells. Those that nothing changes for are returned as they are.
 *
 * @throws {CniError} 7 where a pod asks for the default route of a network that has none.
 */
export function withDefaultRoutes<T extends RoutedAttachment>(attached: readonly T[]): readonly T[] {
  const ways = attached.flatMap(waysOf);
  if (ways.length === 0) return attached;
  return attached.map((each) => {
    const kept = each.result.routes.filter((route) => {
      const way = isDefaultRoute(route) ? ways.find(({ family }) => family === familyOf(route.dst)) : undefined;
      return way === undefined || (way.ifName === each.ifName && leads(route, each.result, way));
    });
    const added = ways
      .filter(({ ifName }) => ifName === each.ifName)
      .filter((way) => !kept.some((route) => isDefaultRoute(route) && leads(route, each.result, way)))
      .map(({ family, gateway }) => ({ dst: destinations[family], ...(gateway && { gw: formatIP(gateway) }) }));
    if (added.length === 0 && kept.length === each.result.routes.length) return each;
    return { ...each, result: { ...each.result, routes: [...kept, ...added] } };
  });
}

/** Whether a default route of an attachment's result goes the way. */
function leads(route: ResultRoute, result: Result, { family, gateway }: Way): boolean {
  const own = gatewayOf(route, result);
  if (familyOf(route.dst) !== family || own === undefined || gateway === undefined) return own === gateway;
  return equalIP(parseIP(own), gateway);
}

/**
 * Gives a pod's default routes to the networks that ask for them, and takes them from all others (specification v1.3,
 * section 4.1.2.1.9), IPv4 and IPv6 apart: a family that nobody asks for keeps the routes it has.
 *
 * @param record Keeps the routes that an attachment takes the place of; called before the first of them goes.
 * @throws {CniError} 7 when a gateway cannot be reached through its interface, or there is none.
 */
export async function setDefaultRoutes(
  netns: string,
  attached: readonly RoutedAttachment[],
  record: (ifName: string, taken: readonly DefaultRoute[]) => Promise<void>,
): Promise<void> {
  const asking = attached.flatMap((each) => (each.defaultRoute === undefined ? [] : [{ each, ways: waysOf(each) }]));
  if (asking.length === 0) return;
  using namespace = NetworkNamespace.open(netns);
  using netlink = Rtnetlink.open(namespace);
  const [all, table] = await netlink.run(links.list(), routes.list({ table: mainTable }));
  const defaults = table.filter(({ destination }) => destination === undefined);
  for (const { each, ways } of asking) {
    const link = all.find(({ name }) => name === each.ifName);
    if (link === undefined) {
      throw new CniError(
        ErrorCode.InvalidNetworkConfig,
        `network ${each.network}, interface ${each.ifName}: the pod wants its default route there, but the network made ` +
          'no such interface',
        'remove "default-route" from the annotation, or give it to another network',
      );
    }
    const wanted = ways.map((way) => {
      const old = defaults.filter(({ family }) => family === way.family);
      const present = old.find((route) => route.index === link.index && sameGateway(route.gateway, way.gateway));
      return { ...way, taken: old.filter((route) => route !== present), isPresent: present !== undefined };
    });
    const taken = wanted.flatMap((way) => way.taken);
    if (taken.length > 0) await record(each.ifName, saved(taken, all));
    for (const { family, gateway, isPresent, taken } of wanted) {
      const added = isPresent ? [] : [routes.add({ family, gateway, index: link.index })];
      await netlink.run(...taken.map((route) => routes.delete(route)), ...added).catch((error: unknown) => {
        throw isKernelError(error) ? unreachable(each, gateway, error) : error;
      });
    }
  }
}

function sameGateway(a: Route['gateway'], b: Way['gateway']): boolean {
  return a === undefined || b === undefined ? a === b : equalIP(a, b);
}

function unreachable({ network, ifName, result }: RoutedAttachment, gateway: IP | undefined, cause: Error): CniError {
  const via = gateway === undefined ? '' : ` via ${formatIP(gateway)}`;
  const own = result.ips.map(({ address }) => address).join(', ') || 'none';
  return new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network ${network}, interface ${ifName}: the pod's default route${via} cannot be made: ${cause.message}`,
    `"default-route" must name a gateway that is in a subnet of the interface, whose addresses are: ${own}`,
    { cause },
  );
}

/** What is to be known of routes to make them again. Of an interface that has gone meanwhile, there is nothing to know. */
function saved(taken: readonly Route[], all: readonly Link[]): DefaultRoute[] {
  return taken.flatMap(({ family, index, gateway, source, priority, scope, mtu, advmss, onLink, protocol }) => {
    const ifName = all.find((link) => link.index === index)?.name;
    if (ifName === undefined) return [];
    const texts = { gateway: gateway && formatIP(gateway), source: source && formatIP(source) };
    return [{ family, ifName, ...texts, priority, scope, mtu, advmss, onLink, protocol }];
  });
}

/**
 * Gives a pod the default routes back that were taken from it, where their interfaces are still there: of a family that
 * has none. What the pod has put in their place meanwhile is its own business.
 *
 * @throws {KernelError} when a gateway cannot be reached any more.
 */
export async function restoreDefaultRoutes(netns: string, taken: readonly DefaultRoute[]): Promise<void> {
  using namespace = NetworkNamespace.open(netns);
  using netlink = Rtnetlink.open(namespace);
  const [all, table] = await netlink.run(links.list(), routes.list({ table: mainTable }));
  const has = (wanted: 4 | 6) =>
    table.some(({ family, destination }) => family === wanted && destination === undefined);
  for (const { ifName, gateway, source, ...rest } of taken) {
    const index = all.find(({ name }) => name === ifName)?.index;
    if (index === undefined || has(rest.family)) continue;
    const ips = { gateway: gateway ? parseIP(gateway) : undefined, source: source ? parseIP(source) : undefined };
    await netlink.run(routes.add({ ...rest, ...ips, index }));
  }
}
