import { randomBytes } from 'node:crypto';
import type { Result } from '../cni/result.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import type { Request, Rtnetlink } from '../linux/rtnetlink.ts';
import { storeSysctl } from '../linux/sysctl.ts';
import type { Container } from './container-interface.ts';
import { creationFailure, refuseTakenName } from './create-link.ts';

/** Of four random bytes each: that so many names are taken means that something else is wrong. */
const maxNames = 10;

/** Of the node's ends, those of the containernetworking plugins included. */
const nodeEndName = /^veth[0-9a-f]{8}$/;

/** A cable between a container and the node. */
export interface VethPair {
  readonly inContainer: Link;
  /** `veth` and 8 hexadecimal digits, as it was before it came up. */
  readonly onNode: Link;
}

export interface VethSettings {
  /** The name in the container. */
  readonly name: string;
  /** Of both ends; 0 for the kernel's 1500. */
  readonly mtu?: number | undefined;
  /** The container's end's. */
  readonly mac?: string | undefined;
  /** What is to be done to the node's end, given its index, before it comes up; asked once it is there. */
  readonly prepare?: (index: number) => Promise<readonly Request<void>[]>;
}

/**
 * Makes a veth with one end in a container and the other on the node. It goes, both ends, with either of them.
 *
 * @param node The node's routing socket.
 * @throws {CniError} when the container has an interface of that name, or the kernel refuses; nothing is made then.
 * @throws {KernelError} of what was to be done to the node's end; nothing is left then.
 */
export async function createVeth(container: Container, node: Rtnetlink, settings: VethSettings): Promise<VethPair> {
  const { peer, inContainer } = await createPair(container, settings);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => container.removeLink(settings.name));
  // What a veth stands on is its other end.
  const { parent: index } = inContainer;
  if (index === undefined) throw new Error(`veth "${settings.name}" has no other end`);
  // The node sends what belongs to the container, and takes no routes from it.
  storeSysctl(NetworkNamespace.host(), 0, 'ipv6', 'conf', peer, 'accept_ra');
  const preparation = (await settings.prepare?.(index)) ?? [];
  const [onNode] = await node.run(links.get({ index }), ...preparation, links.change(index, { up: true }));
  undo.move();
  return { inContainer, onNode };
}

interface NewPair {
  readonly inContainer: Link;
  /** The name of the node's end. */
  readonly peer: string;
}

async function createPair(container: Container, { name, mtu, mac }: VethSettings): Promise<NewPair> {
  const namespace = NetworkNamespace.host().fd;
  for (let names = 1; ; names++) {
    const peer = { name: `veth${randomBytes(4).toString('hex')}`, mtu: mtu || undefined, namespace };
    const kind = { type: 'veth', peer } as const;
    try {
      const create = links.create({ name, mtu: mtu || undefined, mac, kind });
      const [, inContainer] = await container.netlink.run(create, links.get({ name }));
      return { inContainer, peer: peer.name };
    } catch (error) {
      if (!isKernelError(error, 'EEXIST') || names === maxNames) throw creationFailure({ kind, name }, error);
      await refuseTakenName(container, name);
    }
  }
}

/**
 * Removes the node's ends of an attachment's veths where the container's namespace is gone: the kernel takes them down
 * some time after it, and until then the routes to them are in the way of the next container with the same address.
 *
 * @param result Of the ADD. Only a veth that still has the MAC address in it is removed.
 */
export async function removeNodeEnds(node: Rtnetlink, result: Pick<Result, 'interfaces'>): Promise<void> {
  const ends = result.interfaces.filter(({ name, sandbox }) => nodeEndName.test(name) && !sandbox);
  for (const { name, mac } of ends) {
    const [found] = await node.settle(links.get({ name }));
    if (found?.ok !== true || found.value.kind !== 'veth' || found.value.mac !== mac?.toLowerCase()) continue;
    const [outcome] = await node.settle(links.delete({ index: found.value.index }));
    if (outcome?.ok === false && outcome.error.code !== 'ENODEV') throw outcome.error;
  }
}
