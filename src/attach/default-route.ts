import type { Result } from '../cni/result.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { type Route, routes } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { equalIP, type IP, parseIP } from '../net/ip.ts';
import { podLinks } from './pod-links.ts';

/** RT_TABLE_MAIN of linux/rtnetlink.h. */
const mainTable = 254;

export interface DefaultRouteRequest {
  readonly ifName: string;
  /** The gateways that the pod names, at most one for each family; empty for those of the network itself. */
  readonly gateways: readonly string[];
  readonly result: Result;
}

/**
 * Gives a pod's default route to one of its networks, and takes it from all others (specification v1.3, section 4.1.2.9),
 * IPv4 and IPv6 apart: a family for which there is no gateway keeps the route it has.
 *
 * @throws {KernelError} when a gateway cannot be reached through the interface.
 */
export async function setDefaultRoute(netns: string, { ifName, gateways, result }: DefaultRouteRequest): Promise<void> {
  const link = (await podLinks(netns)).get(ifName);
  if (link === undefined) throw new Error(`interface ${ifName}, which asks for the default route, is not in ${netns}`);
  using namespace = NetworkNamespace.open(netns);
  using netlink = Rtnetlink.open(namespace);
  for (const gateway of wantedGateways(gateways, result)) {
    const [all] = await netlink.run(routes.list({ family: gateway.family, table: mainTable }));
    const wanted = (route: Route) =>
      route.index === link.index && route.gateway !== undefined && equalIP(route.gateway, gateway);
    const old = all.filter((route) => route.destination === undefined && !wanted(route));
    const present = all.some((route) => route.destination === undefined && wanted(route));
    await netlink.run(
      ...old.map((route) => routes.delete(route)),
      ...(present ? [] : [routes.add({ family: gateway.family, gateway, index: link.index })]),
    );
  }
}

/** The gateways that the pod names, else one for each family that the network's addresses have. */
function wantedGateways(named: readonly string[], result: Result): IP[] {
  if (named.length > 0) return named.map(parseIP);
  const own = result.ips.flatMap(({ gateway }) => (gateway ? [parseIP(gateway)] : []));
  return own.filter((ip, index) => own.findIndex(({ family }) => family === ip.family) === index);
}
