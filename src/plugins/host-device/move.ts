import { CniError, ErrorCode } from '../../cni/error.ts';
import { isKernelError } from '../../linux/errors.ts';
import { type Link, links } from '../../linux/link.ts';
import { NetworkNamespace } from '../../linux/namespace.ts';
import { Rtnetlink } from '../../linux/rtnetlink.ts';
import type { Container } from '../container-interface.ts';

/*
 * A device's way from the node into a container and back. Its alias keeps the name that it has on the node, as the
 * containernetworking plugin has it, so that each can take back what the other moved.
 *
 * To move and to rename is one request: the kernel holds its lock over both, so that neither name need be free in both
 * namespaces, and nobody sees the device under a name in between. At every moment it is in one of the two, with its alias.
 */

/** A namespace to move from or to. */
export type Place = Pick<Container, 'namespace' | 'netlink'>;

/** How a device was, or is to be. */
export type State = Pick<Link, 'name' | 'alias'> & { readonly flags: Pick<Link['flags'], 'up'> };

export function openNode(): Place & Disposable {
  const netlink = Rtnetlink.open();
  return { namespace: NetworkNamespace.host(), netlink, [Symbol.dispose]: () => netlink[Symbol.dispose]() };
}

/**
 * Moves a device of the node into a container, where it is down.
 *
 * @returns The device as the container has it.
 * @throws {CniError} when the kernel refuses. The device is on the node then, as it was but for its addresses.
 */
export async function moveIn(node: Place, container: Place, device: Link, ifName: string): Promise<Link> {
  try {
    await node.netlink.run(links.change(device.index, { alias: device.name }));
    await transfer(node, container, { ...device, alias: device.name }, ifName);
    const [moved] = await container.netlink.run(links.get({ name: ifName }));
    return moved;
  } catch (error) {
    await restore(node, { ...device, alias: device.name }, device);
    throw failure(`failed to move link "${device.name}" into ${container.namespace.path} as "${ifName}"`, error);
  }
}

/**
 * Moves a device back to the node.
 *
 * @param link The device as the container has it.
 * @param state The name, alias and flags that it is to have on the node.
 * @throws {CniError} when the kernel refuses. The device is in the container then, as it was but for its addresses.
 */
export async function moveOut(node: Place, container: Place, link: Link, state: State): Promise<void> {
  const { netlink } = container;
  try {
    await netlink.run(links.change(link.index, { up: false }));
    // Where the name is free in the container already, the node's udev never sees the device under another one.
    const [renamed] = await netlink.settle(links.change(link.index, { name: state.name }));
    await transfer(container, node, renamed?.ok === true ? { ...link, name: state.name } : link, state.name);
  } catch (error) {
    await restore(container, link, link);
    throw failure(`failed to move "${link.name}" back to the node as "${state.name}"`, error);
  }
  await restore(node, link, state);
}

/**
 * Gives back its name to a device that returned to the node by itself, when its namespace ended.
 *
 * @throws {CniError} when the name is taken.
 */
export async function renameOnNode({ netlink }: Place, { index, name }: Link, original: string): Promise<void> {
  try {
    await netlink.run(links.change(index, { name: original, alias: '' }));
  } catch (error) {
    throw failure(`failed to give "${name}" its name "${original}" again`, error);
  }
}

/** @throws {KernelError} and the device is where it was. */
async function transfer(from: Place, to: Place, link: Link, name: string): Promise<void> {
  try {
    await from.netlink.run(links.change(link.index, { namespace: to.namespace.fd, name }));
  } catch (error) {
    // The kernel moves before it renames: a name that was taken in this very moment leaves the device over there.
    const stranded = await find(to.netlink, link);
    if (stranded !== undefined) {
      await to.netlink.run(links.change(stranded.index, { namespace: from.namespace.fd, name: link.name }));
    }
    throw error;
  }
}

/** Gives a device the state that it is to have in a place, if it is there. */
async function restore({ netlink }: Place, device: Link, { name, alias = '', flags }: State): Promise<void> {
  const link = await find(netlink, device);
  if (link === undefined) return;
  const requests = [links.change(link.index, { alias, up: flags.up })];
  if (link.name !== name) requests.unshift(links.change(link.index, { name }));
  await netlink.run(...requests);
}

/** The device wherever it is: neither its name nor its index need have stayed. */
async function find(netlink: Rtnetlink, device: Link): Promise<Link | undefined> {
  const [all] = await netlink.run(links.list());
  return all.find(({ alias, mac }) => alias === device.alias && mac === device.mac);
}

function failure(what: string, error: unknown): CniError {
  const reason = error instanceof Error ? error.message : String(error);
  const taken = isKernelError(error, 'EEXIST') ? 'an interface of that name exists there' : '';
  return new CniError(ErrorCode.Internal, `${what}: ${reason}`, taken, { cause: error });
}
