import { createHash } from 'node:crypto';
import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** Directories of sysfs(5) in which something appears or goes with a device, its driver, its interface or its RDMA device. */
const places = ['bus/pci/devices', 'bus/auxiliary/devices', 'class/infiniband', 'class/misc'];
const buses = ['pci', 'auxiliary', 'vdpa'];

/**
 * A short text that is another one when devices, their drivers or their interfaces are others. The directory of a driver has
 * the names of all of its devices: that is some sixty directories to read, however many devices there are.
 */
export async function fingerprint(root: string): Promise<string> {
  const hash = createHash('sha1');
  const drivers = await Promise.all(
    buses.map(async (bus) => {
      const names = await readdir(join(root, 'bus', bus, 'drivers')).catch(() => []);
      return names.sort().map((name) => join('bus', bus, 'drivers', name));
    }),
  );
  hash.update((await hardwareInterfaces(root)).join('\n'));
  for (const directory of [...places, ...drivers.flat()]) {
    const names = await readdir(join(root, directory)).catch(() => []);
    hash.update(`${directory}\n${names.sort().join('\n')}\n\n`);
  }
  return hash.digest('hex');
}

/** Those of pods come and go all the time, and are of no device. */
async function hardwareInterfaces(root: string): Promise<string[]> {
  const names = await readdir(join(root, 'class/net')).catch(() => []);
  const targets = await Promise.all(names.map((name) => readlink(join(root, 'class/net', name)).catch(() => '')));
  return targets.filter((target) => !target.includes('/devices/virtual/')).sort();
}
