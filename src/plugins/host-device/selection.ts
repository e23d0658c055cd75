import { z } from 'zod';
import { CniError, ErrorCode } from '../../cni/error.ts';
import type { PluginConfig } from '../../cni/plugin.ts';
import { parsePluginConfig } from '../../cni/schema.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import {
  type Bus,
  deviceDirectory,
  deviceDirectoryAt,
  driverOf,
  hasDevice,
  interfacesOf,
  isDeviceName,
  isDevicePath,
} from '../../linux/sysfs.ts';
import { listInterfaces } from '../master.ts';

/* Which device of the node a configuration means. */

/** Drivers that hand a device to a program, such as DPDK's: the kernel has no interface for it then. */
export const userspaceDrivers: readonly string[] = ['vfio-pci', 'uio_pci_generic', 'igb_uio'];

export type Selection =
  | { readonly by: 'device'; readonly name: string }
  | { readonly by: 'hwaddr'; readonly mac: string }
  | { readonly by: 'kernelpath'; readonly path: string }
  | BusDevice;

interface BusDevice {
  readonly by: Bus;
  readonly id: string;
}

/** What a configuration says of the device. */
export interface Wanted {
  readonly selection: Selection;
  /** The device on a bus that it names, whatever else it names: its driver decides whether there is an interface at all. */
  readonly busDevice: BusDevice | undefined;
}

const schema = z.object({
  device: text((name) => /^[^\s/]{1,127}$/.test(name) && name !== '.' && name !== '..', 'the name of an interface'),
  hwaddr: text((mac) => isHardwareAddress(mac), 'a hardware address such as 02:00:5e:10:00:01'),
  kernelpath: text(isDevicePath, 'a path below /sys/devices/'),
  pciBusID: text((id) => isDeviceName('pci', id), 'a PCI address such as 0000:00:06.0'),
  runtimeConfig: z
    .object({
      deviceID: text(
        (id) => isDeviceName('pci', id) || isDeviceName('auxiliary', id),
        'a PCI address such as 0000:00:06.0, or the name of an auxiliary device such as mlx5_core.sf.2',
      ),
    })
    .default({ deviceID: undefined }),
});

/**
 * Reads which device is meant. Of several keys the first of device, hwaddr, kernelpath and pciBusID counts; the device
 * that a device plugin chose (`runtimeConfig.deviceID`) stands in the place of pciBusID.
 *
 * @throws {CniError} 7 when a key is of the wrong form, or none of them is given.
 */
export function parseWanted(config: PluginConfig): Wanted {
  const { device, hwaddr, kernelpath, pciBusID, runtimeConfig } = parsePluginConfig(schema, config);
  const id = runtimeConfig.deviceID ?? pciBusID;
  const busDevice: BusDevice | undefined =
    id === undefined ? undefined : { by: isDeviceName('pci', id) ? 'pci' : 'auxiliary', id };
  if (device !== undefined) return { selection: { by: 'device', name: device }, busDevice };
  if (hwaddr !== undefined) return { selection: { by: 'hwaddr', mac: withColons(hwaddr) }, busDevice };
  if (kernelpath !== undefined) return { selection: { by: 'kernelpath', path: kernelpath }, busDevice };
  if (busDevice !== undefined) return { selection: busDevice, busDevice };
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    'specify either "device", "hwaddr", "kernelpath" or "pciBusID"',
    `network "${config.name}" names no device of the node, and no device plugin chose one (runtimeConfig.deviceID)`,
  );
}

/** Whether a program outside of the kernel drives the device. @throws {CniError} when the node has no such device. */
export async function isUserspaceDriven({ busDevice }: Wanted, sysfs: string): Promise<boolean> {
  if (busDevice === undefined) return false;
  const { by, id } = busDevice;
  if (!(await hasDevice(by, id, sysfs))) throw failure(`this node has no ${by} device ${id}`);
  const driver = by === 'pci' ? await driverOf(by, id, sysfs) : undefined;
  return driver !== undefined && userspaceDrivers.includes(driver);
}

/** The interface of the device that is meant, if it has one on the node. */
export async function findDevice(netlink: Rtnetlink, selection: Selection, sysfs: string): Promise<Link | undefined> {
  switch (selection.by) {
    case 'device':
      return findLink(netlink, selection.name);
    case 'hwaddr': {
      const [all] = await netlink.run(links.list());
      return all.find(({ mac }) => mac === selection.mac);
    }
    case 'kernelpath':
      return firstOf(netlink, deviceDirectoryAt(selection.path, sysfs));
    default:
      return firstOf(netlink, deviceDirectory(selection.by, selection.id, sysfs));
  }
}

/**
 * A device of the node that a pod's namespace left under another name when it ended: down, with its own name as alias.
 *
 * @param name Of which there is no interface.
 */
export async function findReturned(netlink: Rtnetlink, name: string): Promise<Link | undefined> {
  const [all] = await netlink.run(links.list());
  return all.find(({ alias, flags }) => alias === name && !flags.up);
}

async function firstOf(netlink: Rtnetlink, directory: string): Promise<Link | undefined> {
  const [name] = await interfacesOf(directory);
  return name === undefined ? undefined : findLink(netlink, name);
}

export async function findLink(netlink: Rtnetlink, name: string): Promise<Link | undefined> {
  const [found] = await netlink.settle(links.get({ name }));
  if (found?.ok === true) return found.value;
  if (found !== undefined && found.error.code !== 'ENODEV') throw found.error;
  return undefined;
}

/** What to throw where {@link findDevice} found none. */
export async function notFound(netlink: Rtnetlink, selection: Selection): Promise<CniError> {
  switch (selection.by) {
    case 'device':
      return failure(`interface "${selection.name}" not found; this node has ${await listInterfaces(netlink)}`);
    case 'hwaddr':
      return failure(`no interface of this node has the hardware address ${selection.mac}`);
    case 'kernelpath':
      return failure(`this node has no network interface at ${selection.path}/net`);
    default:
      return failure(`${selection.by} device ${selection.id} has no network interface on this node`);
  }
}

/** 6 bytes for Ethernet, 8 or 20 for InfiniBand; in pairs of digits, or in groups of four with full stops. */
function isHardwareAddress(text: string): boolean {
  const form = /^[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2})*$|^[0-9a-f]{4}(\.[0-9a-f]{4})*$/i;
  return form.test(text) && [6, 8, 20].includes(digitsOf(text).length / 2);
}

const digitsOf = (mac: string): string => mac.toLowerCase().replaceAll(/[:.-]/g, '');

function withColons(mac: string): string {
  return digitsOf(mac).replaceAll(/..(?=.)/g, '$&:');
}

/** Text that is checked before it goes anywhere; empty counts as absent. */
function text(isValid: (text: string) => boolean, expected: string) {
  return z
    .string(`expected ${expected}`)
    .refine((value) => value === '' || isValid(value), `expected ${expected}`)
    .transform((value) => value || undefined)
    .optional();
}

const failure = (what: string): CniError => new CniError(ErrorCode.Internal, `failed to find host device: ${what}`);
