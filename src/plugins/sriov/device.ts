import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import {
  deviceDirectory,
  driverOf,
  hasDevice,
  hasVirtualFunctions,
  interfacesOf,
  virtualFunctionOf,
} from '../../linux/sysfs.ts';
import { type Vf, type VfAttributes, type VfChanges, vfs } from '../../linux/vf.ts';
import { findLink, userspaceDrivers } from '../host-device/selection.ts';

/* A device of the node: where it is and, of a virtual function, what its physical function lets it do. */

export interface Device {
  readonly address: string;
  readonly driver: string | undefined;
  /** Undefined for a whole card, such as an elastic network interface of AWS. */
  readonly function: VirtualFunction | undefined;
}

interface VirtualFunction {
  /** The interface of its physical function, which is on the node. */
  readonly physical: Pick<Link, 'index' | 'name'>;
  /** As it is. */
  readonly vf: Vf;
}

/**
 * Looks a device up.
 *
 * @param address Its PCI address.
 * @throws {CniError} when there is none, or its physical function has no interface on the node.
 */
export async function findDevice(node: Rtnetlink, address: string, sysfs: string): Promise<Device> {
  if (!(await hasDevice('pci', address, sysfs))) {
    throw failure(`this node has no PCI device ${address}`, 'the device is gone, or was never of this node');
  }
  const driver = await driverOf('pci', address, sysfs);
  const place = await virtualFunctionOf(address, sysfs);
  if (place === undefined) return { address, driver, function: undefined };
  // Beside the physical function's own interface there may be representors, which have no virtual functions.
  for (const name of await interfacesOf(deviceDirectory('pci', place.physicalFunction, sysfs))) {
    const physical = await findLink(node, name);
    if (physical === undefined) continue;
    const [all] = await node.run(vfs.list(physical.index));
    const vf = all.find(({ number }) => number === place.number);
    if (vf !== undefined) return { address, driver, function: { physical, vf } };
  }
  throw failure(
    `physical function ${place.physicalFunction} of ${address} has no interface on this node`,
    `its driver must be that of the kernel, such as ice or mlx5_core, and its interface in the node's own namespace`,
  );
}

/** Whether a program drives it, such as one of DPDK: it has no interface then. */
export const isUserspaceDriven = ({ driver }: Pick<Device, 'driver'>): boolean =>
  driver !== undefined && userspaceDrivers.includes(driver);

/** The device's own interface, if that is on the node. */
export async function interfaceOnNode(node: Rtnetlink, address: string, sysfs: string): Promise<Link | undefined> {
  const [name] = await interfacesOf(deviceDirectory('pci', address, sysfs));
  return name === undefined ? undefined : findLink(node, name);
}

/** What of the attributes that are wanted is not so. What is so already is not set: many drivers know some of them only. */
export function differing({ function: found }: Device, wanted: VfChanges): VfChanges {
  const { mac, vlan, rate, spoofCheck, trust, linkState } = wanted;
  if (found === undefined) return {};
  const { vf } = found;
  return {
    ...(mac !== undefined && mac !== vf.mac && { mac }),
    ...(vlan !== undefined && !isSameVlan(vlan, vf.vlan) && { vlan }),
    ...(rate !== undefined && (rate.min !== vf.rate.min || rate.max !== vf.rate.max) && { rate }),
    ...(spoofCheck !== undefined && spoofCheck !== vf.spoofCheck && { spoofCheck }),
    ...(trust !== undefined && trust !== vf.trust && { trust }),
    ...(linkState !== undefined && linkState !== vf.linkState && { linkState }),
  };
}

/** Of the attributes that are to change, what they are. */
export function presentOf({ function: found }: Device, changes: VfChanges): VfChanges {
  if (found === undefined) return {};
  const { vf } = found;
  return {
    ...(changes.mac !== undefined && { mac: vf.mac }),
    ...(changes.vlan !== undefined && { vlan: vf.vlan }),
    ...(changes.rate !== undefined && { rate: vf.rate }),
    ...(changes.spoofCheck !== undefined && { spoofCheck: vf.spoofCheck }),
    ...(changes.trust !== undefined && { trust: vf.trust }),
    ...(changes.linkState !== undefined && { linkState: vf.linkState }),
  };
}

/** Without a VLAN, the protocol of its tag means nothing. */
function isSameVlan(one: VfAttributes['vlan'], other: VfAttributes['vlan']): boolean {
  return one.id === other.id && one.qos === other.qos && (one.id === 0 || one.protocol === other.protocol);
}

/**
 * Refuses a device that a pod cannot have, and attributes that it cannot be given: a whole card's interface can have another
 * address, and nothing else.
 *
 * @throws {CniError}
 */
export async function requirePossible(device: Device, { mac, ...rest }: VfChanges, sysfs: string): Promise<void> {
  const { address } = device;
  if (await hasVirtualFunctions(address, sysfs)) {
    throw failure(`PCI device ${address} has virtual functions, which need it on the node`, 'name one of them instead');
  }
  if (device.function !== undefined) return;
  const wanted = isUserspaceDriven(device) ? { mac, ...rest } : rest;
  const impossible = Object.entries(wanted).flatMap(([key, value]) => (value === undefined ? [] : [key]));
  if (impossible.length === 0) return;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `PCI device ${address} is no virtual function, and can be given no ${impossible.join(', ')}`,
    'leave it out, or name a virtual function',
  );
}

/**
 * Sets what of the attributes is not so.
 *
 * @throws {CniError} naming every one that the driver did not take. The others are set then.
 */
export async function setAttributes(node: Rtnetlink, device: Device, wanted: VfChanges): Promise<void> {
  if (device.function === undefined) return;
  const { physical, vf } = device.function;
  const outcomes = await node.settle(...vfs.set(physical.index, vf.number, differing(device, wanted)));
  const problems = outcomes.flatMap((outcome) => (outcome.ok ? [] : [outcome.error]));
  if (problems.length === 0) return;
  const reasons = problems.map((each) => each.message).join('; ');
  const isUnknown = problems.some(({ code }) => code === 'EOPNOTSUPP' || code === 'EPROTONOSUPPORT');
  const remedy = isUnknown ? `the driver of ${physical.name} has no such attribute: leave it out` : '';
  const message = `virtual function ${device.address} of ${physical.name}: ${reasons}`;
  throw new CniError(ErrorCode.Internal, message, remedy, { cause: problems[0] });
}

/** Tries to have an address taken, and milliseconds between them: firmware may be busy with what was set before. */
const addressTries = 20;
const addressInterval = 100;

/**
 * Gives a virtual function's own interface an address.
 *
 * Where the physical function has given the address, a driver may refuse to have the very same set, or answer success and
 * not take it (igbvf): it takes it when it starts anew.
 *
 * @returns The interface, which is down where its address had to change.
 * @throws {CniError} when it keeps another address.
 */
export async function setAddress(netlink: Rtnetlink, { index }: Pick<Link, 'index'>, mac: string): Promise<Link> {
  let [link] = await netlink.run(links.get({ index }));
  for (let tries = 0; link.mac !== mac && tries < addressTries; tries++) {
    if (tries > 0) await sleep(addressInterval);
    await netlink.run(links.change(index, { up: false }));
    await netlink.settle(links.change(index, { mac }));
    [link] = await netlink.run(links.get({ index }));
    if (link.mac === mac) break;
    await netlink.settle(links.change(index, { up: true }), links.change(index, { up: false }));
    [link] = await netlink.run(links.get({ index }));
  }
  if (link.mac === mac) return link;
  throw new CniError(ErrorCode.Internal, `interface "${link.name}" keeps its address ${link.mac} instead of ${mac}`);
}

function failure(what: string, remedy: string): CniError {
  return new CniError(ErrorCode.Internal, `failed to find the device: ${what}`, remedy);
}
