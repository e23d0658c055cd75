import { createHash } from 'node:crypto';
import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** Directories of sysfs(5) in which something appears or goes with a device, its driver, its interface or its RDMA device. */
const places = ['bus/pci/devices', 'bus/auxiliary/devices', 'class/infiniband', 'class/misc'];
const buses = ['pci', 'auxiliary', 'vdpa'];

/** Tells whether devices have changed, without a look at each. */
export class Changes {
  readonly #root: string;
  /** Whether an interface is of hardware. Those of pods come and go all the time, and are of no device. */
  #interfaces: ReadonlyMap<string, boolean> = new Map();

  constructor(root: string) {
    this.#root = root;
  }

  /**
   * A short text that is another one when devices, their drivers or their interfaces are others. The directory of a driver
   * has the names of all of its devices: that is some sixty directories to read, however many devices there are.
   */
  async fingerprint(): Promise<string> {
    const hash = createHash('sha1');
    const drivers = await Promise.all(
      buses.map(async (bus) => {
        const names = await this.#names(join('bus', bus, 'drivers'));
        return names.map((name) => join('bus', bus, 'drivers', name));
      }),
    );
    hash.update((await this.#hardwareInterfaces()).join('\n'));
    for (const directory of [...places, ...drivers.flat()]) {
      hash.update(`${directory}\n${(await this.#names(directory)).join('\n')}\n\n`);
    }
    return hash.digest('hex');
  }

  async #names(directory: string): Promise<readonly string[]> {
    const names = await readdir(join(this.#root, directory)).catch(() => []);
    return names.sort();
  }

  async #hardwareInterfaces(): Promise<string[]> {
    const known = new Map<string, boolean>();
    for (const name of await this.#names('class/net')) {
      const isHardware = this.#interfaces.get(name) ?? !(await this.#target(name)).includes('/devices/virtual/');
      known.set(name, isHardware);
    }
    this.#interfaces = known;
    return [...known].flatMap(([name, isHardware]) => (isHardware ? [name] : []));
  }

  #target(name: string): Promise<string> {
    return readlink(join(this.#root, 'class/net', name)).catch(() => '');
  }
}
