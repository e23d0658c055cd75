import { addresses, type InterfaceAddress } from '../linux/address.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { type Route, routes } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';

/** What a namespace has, as the kernel tells. */
export interface NamespaceView {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly Route[];
}

/** @throws {KernelError} */
export async function viewOf(namespace: NetworkNamespace): Promise<NamespaceView> {
  using netlink = Rtnetlink.open(namespace);
  const [allLinks, allAddresses, allRoutes] = await netlink.run(links.list(), addresses.list(), routes.list());
  return { links: allLinks, addresses: allAddresses, routes: allRoutes };
}

/**
 * Looks into the namespace of a sandbox.
 *
 * @returns A sentence where there is none to look into.
 * @throws {KernelError} when there is one, and it cannot be looked into.
 */
export async function viewAt(netns: string): Promise<NamespaceView | string> {
  try {
    using namespace = NetworkNamespace.open(netns);
    return await viewOf(namespace);
  } catch (error) {
    // The file of a namespace that was unmounted is left behind empty.
    if (isKernelError(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) return `its namespace ${netns} is gone`;
    throw error;
  }
}
