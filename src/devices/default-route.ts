import { links } from '../linux/link.ts';
import { mainTable, routes } from '../linux/route.ts';
import type { Rtnetlink } from '../linux/rtnetlink.ts';

/**
 * The interfaces that the default routes of a node lead through: of IPv4 and IPv6, of any priority, in the main table.
 * Routes of an interface of its own, as the Amazon VPC CNI has them for each, are in tables of their own.
 */
export async function defaultInterfaces(netlink: Rtnetlink): Promise<string[]> {
  const [all] = await netlink.run(routes.list({ table: mainTable }));
  const indices = new Set(all.flatMap(({ destination, index }) => (destination === undefined && index ? [index] : [])));
  if (indices.size === 0) return [];
  const [interfaces] = await netlink.run(links.list());
  return interfaces.flatMap(({ index, name }) => (indices.has(index) ? [name] : [])).sort();
}
