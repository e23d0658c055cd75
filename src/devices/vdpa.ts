import { readdir, readlink, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeviceName } from '../linux/sysfs.ts';

/** A vDPA device: Documentation/ABI/testing/sysfs-bus-vdpa. */
export interface VdpaDevice {
  /** Such as `vdpa0`. */
  readonly name: string;
  /** By its driver: vhost_vdpa has a file for a program, virtio_vdpa an interface. Undefined without a driver. */
  readonly type: 'vhost' | 'virtio' | undefined;
  /** Such as /dev/vhost-vdpa-0; for `vhost` alone. */
  readonly file: string | undefined;
}

const types: Readonly<Record<string, 'vhost' | 'virtio'>> = { vhost_vdpa: 'vhost', virtio_vdpa: 'virtio' };

/** The vDPA devices of the node, by the address of the PCI device that carries each. */
export async function vdpaDevices(root: string): Promise<ReadonlyMap<string, VdpaDevice>> {
  const bus = join(root, 'bus/vdpa/devices');
  const found = new Map<string, VdpaDevice>();
  for (const name of (await readdir(bus).catch(() => [])).sort()) {
    const directory = await realpath(join(bus, name)).catch(() => '');
    const address = directory.split('/').findLast((part) => isDeviceName('pci', part));
    if (address === undefined || found.has(address)) continue;
    const driver = await readlink(join(directory, 'driver')).then(basename, () => '');
    const type = types[driver];
    const files = type === 'vhost' ? await readdir(directory).catch(() => []) : [];
    const file = files.find((each) => /^vhost-vdpa-\d+$/.test(each));
    found.set(address, { name, type, file: file && `/dev/${file}` });
  }
  return found;
}
