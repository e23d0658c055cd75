import { randomBytes } from 'node:crypto';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { PluginCall } from '../cni/plugin.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links, type NewLink } from '../linux/link.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import type { Container } from './container-interface.ts';
import { isIndependentIpam, removeThenDeleteIpam } from './ipam.ts';

/** Where the interface is that a container's own stands on. */
export interface Home extends Disposable {
  readonly netlink: Rtnetlink;
  /** What to call it in messages. */
  readonly place: string;
}

/** @param inContainer `linkInContainer`: the master is an interface of the container, not of the node. */
export function openHome(container: Container, inContainer: boolean): Home {
  if (inContainer) {
    return { netlink: container.netlink, place: `the container (${container.namespace.path})`, [Symbol.dispose]() {} };
  }
  const netlink = Rtnetlink.open();
  return { netlink, place: 'this node', [Symbol.dispose]: () => netlink[Symbol.dispose]() };
}

/**
 * Makes an interface in a container, under its final name from its first moment.
 *
 * @param home Where its parent is.
 * @throws {CniError} when the container has an interface of that name, or the kernel refuses; nothing is made then.
 */
export async function createInContainer(
  home: Pick<Home, 'netlink'>,
  container: Container,
  link: Omit<NewLink, 'namespace' | 'up'>,
): Promise<Link> {
  const inContainer = { ...link, namespace: container.namespace.fd };
  try {
    await home.netlink.run(links.create(inContainer));
  } catch (error) {
    if (!isKernelError(error, 'EEXIST')) throw creationFailure(link, error);
    await refuseTakenName(container, link.name);
    await createAndRename(home, container, inContainer);
  }
  return container.link(link.name);
}

/** {@link createInContainer} and {@link makeWithAddresses}. */
export function createWithAddresses<A>(
  undo: AsyncDisposableStack,
  home: Pick<Home, 'netlink'>,
  container: Container,
  link: Omit<NewLink, 'namespace' | 'up'>,
  call: PluginCall,
  reserve: () => Promise<A>,
): Promise<readonly [Link, A]> {
  return makeWithAddresses(undo, container, call, createInContainer(home, container, link), reserve);
}

/**
 * Waits for the container's interface, while its addresses are being reserved, where the IPAM plugin does without the
 * interface: the kernel and the disk work at the same time. What was done is taken back with `undo`, also where the other
 * has failed.
 *
 * @param making Makes the interface; where that fails, nothing of it is left.
 * @param reserve The IPAM plugin's ADD.
 */
export async function makeWithAddresses<L, A>(
  undo: AsyncDisposableStack,
  container: Container,
  call: PluginCall,
  making: Promise<L>,
  reserve: () => Promise<A>,
): Promise<readonly [L, A]> {
  const reserving = isIndependentIpam(call.config) ? reserve() : making.then(reserve);
  const [made, reserved] = await Promise.allSettled([making, reserving]);
  const remove = async (): Promise<void> => {
    if (made.status === 'fulfilled') await container.removeLink(call.attachment.ifName);
  };
  undo.defer(() => (reserved.status === 'fulfilled' ? removeThenDeleteIpam(call, remove) : remove()));
  if (made.status === 'rejected') throw made.reason;
  if (reserved.status === 'rejected') throw reserved.reason;
  return [made.value, reserved.value];
}

/** @throws {CniError} when the container has an interface of that name. */
export async function refuseTakenName({ netlink, namespace }: Container, name: string): Promise<void> {
  const [found] = await netlink.settle(links.get({ name }));
  if (found?.ok !== true) return;
  throw new CniError(
    ErrorCode.Internal,
    `interface "${name}" already exists in ${namespace.path}`,
    'the container was given this interface before, or another network has the same interface name',
  );
}

/** Before Linux 6.13 a new interface's name must be free in the namespace it is made from, too. */
async function createAndRename(home: Pick<Home, 'netlink'>, container: Container, link: NewLink): Promise<void> {
  const name = `plx${randomBytes(6).toString('hex')}`;
  try {
    await home.netlink.run(links.create({ ...link, name }));
  } catch (error) {
    throw creationFailure(link, error);
  }
  try {
    const { index } = await container.link(name);
    await container.netlink.run(links.change(index, { name: link.name }));
  } catch (error) {
    await container.removeLink(name);
    throw error;
  }
}

/** What to throw where the kernel did not make an interface: with the remedy, for what is known. */
export function creationFailure({ kind, name }: Pick<NewLink, 'kind' | 'name'>, error: unknown): unknown {
  if (!isKernelError(error)) return error;
  const remedies: Readonly<Record<string, string>> = {
    EOPNOTSUPP: `the node's kernel has no ${kind.type}: load its module, modprobe ${kind.type}`,
    EEXIST: kind.type === 'vlan' ? 'the master has a VLAN of this ID already, in this or another container' : '',
    EBUSY: 'the master has another use, such as a bridge, macvlan or ipvlan, that excludes this one',
  };
  const message = `failed to create ${kind.type} "${name}": ${error.message}`;
  return new CniError(ErrorCode.Internal, message, remedies[error.code] ?? '', { cause: error });
}
