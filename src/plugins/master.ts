import { CniError, ErrorCode } from '../cni/error.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { routes } from '../linux/route.ts';
import type { Rtnetlink } from '../linux/rtnetlink.ts';

/** A node has a veth for each of its pods; a message need not list more than this. */
const maxListed = 20;

/**
 * Finds the interface that an attachment's own stands on.
 *
 * @param netlink The routing socket of the namespace that it is in: the node's, or the container's for `linkInContainer`.
 * @param name Empty: the interface of the default route.
 * @param place What to call that namespace in messages, such as `this node`.
 * @throws {CniError} 7 listing the interfaces that there are.
 */
export async function findMaster(netlink: Rtnetlink, name: string, place: string): Promise<Link> {
  if (name === '') return defaultRouteInterface(netlink, place);
  try {
    const [link] = await netlink.run(links.get({ name }));
    return link;
  } catch (error) {
    if (!isKernelError(error, 'ENODEV')) throw error;
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `master "${name}" not found; ${place} has ${await listInterfaces(netlink)}`,
    );
  }
}

async function defaultRouteInterface(netlink: Rtnetlink, place: string): Promise<Link> {
  const [all] = await netlink.run(routes.list());
  const index = all.find((route) => route.destination === undefined && route.index !== undefined)?.index;
  if (index === undefined) {
    throw new CniError(
      ErrorCode.InvalidNetworkConfig,
      `no default route interface found: ${place} has no default route, and the configuration names no master`,
      `name one of its interfaces as master: ${await listInterfaces(netlink)}`,
    );
  }
  const [link] = await netlink.run(links.get({ index }));
  return link;
}

/** The interfaces that could be meant: neither loopback nor the host's ends of pods' veths. */
export async function listInterfaces(netlink: Rtnetlink): Promise<string> {
  const [all] = await netlink.run(links.list());
  const names = all.filter(({ flags, kind }) => !flags.loopback && kind !== 'veth').map((link) => link.name);
  if (names.length === 0) return 'no interface that could be one';
  return names.length > maxListed ? `${names.slice(0, maxListed).join(', ')}, ...` : names.join(', ');
}

/**
 * @param mtu Of the configuration; undefined or 0 for the master's own.
 * @throws {CniError} 7 in the words of the original.
 */
export function checkMtu(mtu: number | undefined, master: Link): void {
  if (mtu === undefined || mtu <= master.mtu) return;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `invalid MTU ${mtu}, must be [0, master MTU(${master.mtu})]`,
    `the master is ${master.name}`,
  );
}
