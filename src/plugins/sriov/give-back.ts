import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { type Link, links } from '../../linux/link.ts';
import { hasDevice, isDeviceName } from '../../linux/sysfs.ts';
import { moveOut, type Place } from '../host-device/move.ts';
import { findDevice, interfaceOnNode, isUserspaceDriven, setAddress, setAttributes } from './device.ts';
import type { SavedState } from './state.ts';

/** Milliseconds between looks for an interface whose namespace has ended, and until it must be on the node. */
const returnInterval = 50;
const returnTimeout = 5_000;

/**
 * Makes a device what it was: the attributes that its physical function gives, then its own interface, which comes
 * back from the container or, where that has ended, has been put on the node by the kernel. Each time it is called it does
 * what is left to do.
 *
 * @param container Undefined where its namespace is gone.
 * @param isUp Whether the interface is to be up then.
 * @throws {CniError} saying what is not as it was yet. A device that is gone needs nothing.
 */
export async function giveBack(
  node: Place,
  container: Place | undefined,
  state: SavedState,
  sysfs: string,
  isUp = false,
): Promise<void> {
  if (!(await hasDevice('pci', state.deviceId, sysfs))) return;
  const found = await findDevice(node.netlink, state.deviceId, sysfs);
  // First: some drivers let an interface have its address again only once the physical function has.
  await setAttributes(node.netlink, found, state.attributes);
  if (state.hostName === undefined || found.driver === undefined || isUserspaceDriven(found)) return;
  const inside = container && (await findInside(container, state));
  if (container !== undefined && inside !== undefined) {
    await container.netlink.run(links.change(inside.index, { up: false }));
    const ready = await setAddress(container.netlink, inside, state.mac ?? inside.mac);
    await moveOut(node, container, ready, { name: state.hostName, alias: state.alias, flags: { up: false } });
  }
  await restoreOnNode(node, await returned(node, state, sysfs), { ...state, hostName: state.hostName }, isUp);
}

/** The interface in the container, whatever its name is by now. Where the kernel does not tell its device, its alias does. */
async function findInside({ netlink }: Place, { deviceId, hostName }: SavedState): Promise<Link | undefined> {
  const [all] = await netlink.run(links.list());
  const isOfPci = (name: string | undefined): boolean => name !== undefined && isDeviceName('pci', name);
  const byDevice = all.find(({ parentDevice }) => parentDevice === deviceId);
  return byDevice ?? all.find(({ parentDevice, alias }) => !isOfPci(parentDevice) && alias === hostName);
}

/** The interface on the node. The kernel takes a moment to put it there when a namespace has ended. */
async function returned(node: Place, { deviceId }: SavedState, sysfs: string): Promise<Link> {
  const deadline = performance.now() + returnTimeout;
  for (;;) {
    const link = await interfaceOnNode(node.netlink, deviceId, sysfs);
    if (link !== undefined) return link;
    if (performance.now() >= deadline) break;
    await sleep(returnInterval);
  }
  throw new CniError(
    ErrorCode.TryAgainLater,
    `the interface of PCI device ${deviceId} is neither in the pod nor on the node`,
    'it comes back when the namespace ends that has it: `lsns -t net` shows who keeps that alive',
  );
}

async function restoreOnNode(
  { netlink }: Place,
  link: Link,
  { hostName, alias, mac, mtu }: SavedState & { readonly hostName: string },
  isUp: boolean,
): Promise<void> {
  const { index, name } = link;
  await setAddress(netlink, link, mac ?? link.mac);
  const rename = name === hostName ? [] : [links.change(index, { up: false }), links.change(index, { name: hostName })];
  await netlink.run(...rename, links.change(index, { mtu, alias: alias ?? '', up: isUp }));
}
