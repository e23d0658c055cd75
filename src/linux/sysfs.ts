import { access, readdir, readlink, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';

/*
 * What sysfs(5) says of hardware, by the names that devices have on their buses. It shows the interfaces of the network
 * namespace that it was mounted in, which for a daemon on the node's network is the node's.
 */

export type Bus = 'pci' | 'auxiliary';

/** Where sysfs is mounted; tests have trees of their own. */
export const sysfsRoot = '/sys';

/** Names of devices on each bus: Documentation/PCI/sysfs-pci.rst, Documentation/driver-api/auxiliary_bus.rst. */
const deviceNames: Readonly<Record<Bus, RegExp>> = {
  pci: /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/i,
  auxiliary: /^\w[\w-]{0,63}\.\w[\w-]{0,63}\.\d{1,10}$/,
};

/** Whether a text can be a device's name on a bus, such as `0000:00:06.0` or `mlx5_core.sf.2`. It is safe in a path then. */
export function isDeviceName(bus: Bus, text: string): boolean {
  return deviceNames[bus].test(text);
}

/** Whether a text can be a device's path below /sys/devices, such as `/sys/devices/pci0000:00/0000:00:06.0`. */
export function isDevicePath(text: string): boolean {
  return /^\/sys\/devices(\/[\w:@+,-][\w:.@+,-]{0,254}){1,32}\/?$/.test(text);
}

/**
 * The directory of a device on a bus.
 *
 * @throws {Error} when the name is none.
 */
export function deviceDirectory(bus: Bus, name: string, root: string = sysfsRoot): string {
  if (!isDeviceName(bus, name)) throw new Error(`"${name}" is no name of a device on the ${bus} bus`);
  return join(root, 'bus', bus, 'devices', bus === 'pci' ? name.toLowerCase() : name);
}

/**
 * The directory of a path below /sys/devices.
 *
 * @throws {Error} when the path is none.
 */
export function deviceDirectoryAt(path: string, root: string = sysfsRoot): string {
  if (!isDevicePath(path)) throw new Error(`"${path}" is no path of a device below /sys/devices`);
  return join(root, path.slice('/sys'.length));
}

export function hasDevice(bus: Bus, name: string, root: string = sysfsRoot): Promise<boolean> {
  return access(deviceDirectory(bus, name, root)).then(
    () => true,
    () => false,
  );
}

/** The driver that a device on a bus is bound to, such as `ena` or `vfio-pci`; undefined while it has none. */
export function driverOf(bus: Bus, name: string, root: string = sysfsRoot): Promise<string | undefined> {
  return targetOf(join(deviceDirectory(bus, name, root), 'driver'));
}

/** The PCI address of the physical function that a virtual function belongs to; undefined when it is none. */
export function physicalFunctionOf(name: string, root: string = sysfsRoot): Promise<string | undefined> {
  return targetOf(join(deviceDirectory('pci', name, root), 'physfn'));
}

/** A virtual function's place. */
export interface VirtualFunction {
  /** The PCI address of the physical function that it belongs to. */
  readonly physicalFunction: string;
  /** Its number there, from 0. */
  readonly number: number;
}

/**
 * Whose virtual function a PCI device is (Documentation/ABI/testing/sysfs-bus-pci: physfn, virtfnN).
 *
 * @param name Its PCI address.
 * @returns undefined when it is none.
 */
export async function virtualFunctionOf(name: string, root: string = sysfsRoot): Promise<VirtualFunction | undefined> {
  const physicalFunction = await physicalFunctionOf(name, root);
  if (physicalFunction === undefined) return undefined;
  const directory = deviceDirectory('pci', physicalFunction, root);
  const links = (await namesIn(directory)).filter((each) => /^virtfn\d+$/.test(each));
  const targets = await Promise.all(links.map((link) => targetOf(join(directory, link))));
  const link = links[targets.indexOf(name.toLowerCase())];
  return link === undefined ? undefined : { physicalFunction, number: Number(link.slice('virtfn'.length)) };
}

/** Whether a PCI device is a physical function that has virtual ones. */
export async function hasVirtualFunctions(name: string, root: string = sysfsRoot): Promise<boolean> {
  return (await namesIn(deviceDirectory('pci', name, root))).some((each) => /^virtfn\d+$/.test(each));
}

/** The hardware of a network interface. */
export interface InterfaceDevice {
  /** Such as `pci`, `virtio`, `auxiliary`, `usb`. */
  readonly bus: string | undefined;
  /** Its name on the bus, such as `0000:00:06.0` or `virtio2`. */
  readonly name: string;
  readonly driver: string | undefined;
  /** Of the device or, where it is on another bus, of the PCI device that carries it. */
  readonly pciAddress: string | undefined;
}

/**
 * The hardware of a network interface.
 *
 * @param name Of an interface in the namespace that sysfs shows.
 * @returns undefined when it has none, such as a bridge, or when there is no such interface.
 * @throws {Error} when the name cannot be an interface's.
 */
export async function deviceOfInterface(name: string, root: string = sysfsRoot): Promise<InterfaceDevice | undefined> {
  if (!/^[^/\s\0]{1,15}$/.test(name) || name === '.' || name === '..') {
    throw new Error(`"${name}" cannot be the name of an interface`);
  }
  const directory = await realpath(join(root, 'class', 'net', name, 'device')).catch(undefinedIfMissing);
  if (directory === undefined) return undefined;
  const [bus, driver] = await Promise.all(['subsystem', 'driver'].map((link) => targetOf(join(directory, link))));
  const pciAddress = directory.split('/').findLast((part) => isDeviceName('pci', part));
  return { bus, name: basename(directory), driver, pciAddress };
}

/**
 * The network interfaces of a device, in order. Those of a virtio device on the PCI bus are one level below it.
 *
 * @param directory Of {@link deviceDirectory} or {@link deviceDirectoryAt}.
 * @returns None when there is no such device, too.
 */
export async function interfacesOf(directory: string): Promise<readonly string[]> {
  const own = await namesIn(join(directory, 'net'));
  if (own.length > 0) return own;
  const [virtio] = (await namesIn(directory)).filter((name) => /^virtio\d+$/.test(name));
  return virtio === undefined ? [] : namesIn(join(directory, virtio, 'net'));
}

async function namesIn(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(undefinedIfMissing);
  return names?.sort() ?? [];
}

/** The last part of what a symbolic link leads to. */
async function targetOf(link: string): Promise<string | undefined> {
  const target = await readlink(link).catch(undefinedIfMissing);
  return target && basename(target);
}

function undefinedIfMissing(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return;
  throw error;
}
