import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { type TestDirectory, testDirectory } from '../support/directory.ts';

/* A sysfs(5) of our own: as much of it as devices are found by, laid out as the kernel does. */

export interface Interface {
  /** ARPHRD_*; 1, Ethernet, unless told. */
  readonly type?: number;
  readonly physPortName?: string;
  /** Interfaces that it stands on. */
  readonly lower?: readonly string[];
}

export interface Pci {
  readonly address: string;
  /** `vendor:device`. */
  readonly ids: string;
  /** 02 is a network card, and taken unless told. */
  readonly class?: string;
  readonly driver?: string;
  readonly numa?: number;
  readonly net?: Readonly<Record<string, Interface>>;
  /** The address of its physical function, and its number there. */
  readonly vfOf?: readonly [pf: string, index: number];
  /** Such as `mlx5_2`, which has uverbs2 and umad2. */
  readonly rdma?: string;
  readonly iommuGroup?: number;
  readonly vdpa?: { readonly name: string; readonly driver: string };
  /** Files of the device's directory, by their paths in it. */
  readonly files?: Readonly<Record<string, string>>;
}

export class Sysfs implements AsyncDisposable {
  readonly #directory: TestDirectory;
  readonly root: string;

  private constructor(directory: TestDirectory) {
    this.#directory = directory;
    this.root = directory.path;
  }

  static async make(...devices: readonly Pci[]): Promise<Sysfs> {
    const sysfs = new Sysfs(await testDirectory());
    for (const each of ['bus/pci/devices', 'bus/auxiliary/devices', 'class/net', 'class/misc', 'devices/virtual/net']) {
      await mkdir(join(sysfs.root, each), { recursive: true });
    }
    for (const device of devices) await sysfs.add(device);
    return sysfs;
  }

  directory(address: string): string {
    return join(this.root, 'devices/pci0000:00', address);
  }

  async add({ address, ids, driver, numa = -1, net = {}, vfOf, rdma, vdpa, files = {}, ...more }: Pci): Promise<void> {
    const directory = this.directory(address);
    const [vendor = '', device = ''] = ids.toUpperCase().split(':');
    await mkdir(directory, { recursive: true });
    await this.#link(join(this.root, 'bus/pci/devices', address), directory);
    const alias = `pci:v0000${vendor}d0000${device}sv00000000sd00000000bc${more.class ?? '02'}sc00i00\n`;
    await this.#files(directory, { modalias: alias, numa_node: `${numa}\n`, ...files });
    if (driver !== undefined) await this.bind(address, driver);
    for (const [name, about] of Object.entries(net)) await this.#interface(directory, name, about);
    if (vfOf !== undefined) {
      const pf = this.directory(vfOf[0]);
      await this.#link(join(directory, 'physfn'), pf);
      await this.#link(join(pf, `virtfn${vfOf[1]}`), directory);
    }
    if (rdma !== undefined) await this.#rdma(directory, rdma);
    if (more.iommuGroup !== undefined) {
      const group = join(this.root, 'kernel/iommu_groups', `${more.iommuGroup}`);
      await mkdir(group, { recursive: true });
      await this.#link(join(directory, 'iommu_group'), group);
    }
    if (vdpa !== undefined) {
      const own = join(directory, vdpa.name);
      await mkdir(vdpa.driver === 'vhost_vdpa' ? join(own, 'vhost-vdpa-0') : own, { recursive: true });
      await this.#link(join(own, 'driver'), join(this.root, 'bus/vdpa/drivers', vdpa.driver));
      await this.#link(join(this.root, 'bus/vdpa/devices', vdpa.name), own);
    }
  }

  /** An auxiliary device of a PCI device, with an interface or none. */
  async addAuxiliary(parent: string, name: string, net?: string, files: Record<string, string> = {}): Promise<void> {
    const directory = join(this.directory(parent), name);
    await mkdir(directory, { recursive: true });
    await this.#link(join(this.root, 'bus/auxiliary/devices', name), directory);
    await this.#link(join(directory, 'driver'), join(this.root, 'bus/auxiliary/drivers/mlx5_core.sf'));
    await this.#files(directory, files);
    if (net !== undefined) await this.#interface(directory, net, {});
  }

  /** An interface that is of no device. */
  async addVirtual(name: string, { lower = [] }: Interface = {}): Promise<void> {
    const own = join(this.root, 'devices/virtual/net', name);
    await mkdir(own, { recursive: true });
    await this.#link(join(this.root, 'class/net', name), own);
    for (const each of lower) await this.#link(join(own, `lower_${each}`), join(this.root, 'class/net', each));
  }

  async addMisc(...names: readonly string[]): Promise<void> {
    for (const name of names) await mkdir(join(this.root, 'class/misc', name));
  }

  /** A group of the driver vfio on a node without an IOMMU. */
  noIommu(group: number): Promise<void> {
    return this.#files(join(this.root, 'kernel/iommu_groups', `${group}`), { name: 'vfio-noiommu\n' });
  }

  async bind(address: string, driver: string): Promise<void> {
    await this.#link(join(this.directory(address), 'driver'), join(this.root, 'bus/pci/drivers', driver));
    await this.#link(join(this.root, 'bus/pci/drivers', driver, address), this.directory(address));
  }

  async unbind(address: string, driver: string): Promise<void> {
    await rm(join(this.directory(address), 'driver'));
    await rm(join(this.root, 'bus/pci/drivers', driver, address));
  }

  /** What a VF that goes with its physical function's sriov_numvfs, or a card that is pulled, leaves behind: nothing. */
  async remove(address: string, { pf, index, driver }: { pf?: string; index?: number; driver?: string } = {}) {
    await rm(join(this.root, 'bus/pci/devices', address));
    if (driver !== undefined) await rm(join(this.root, 'bus/pci/drivers', driver, address));
    if (pf !== undefined) await rm(join(this.directory(pf), `virtfn${index}`));
    await rm(this.directory(address), { recursive: true });
  }

  /** An interface goes to a pod's namespace, and out of sight. */
  async hide(address: string, name: string): Promise<void> {
    await rm(join(this.root, 'class/net', name));
    await rename(join(this.directory(address), 'net', name), join(this.root, name));
  }

  async #interface(directory: string, name: string, { type = 1, physPortName }: Interface): Promise<void> {
    const own = join(directory, 'net', name);
    await this.#files(own, { type: `${type}\n`, ...(physPortName && { phys_port_name: `${physPortName}\n` }) });
    await this.#link(join(this.root, 'class/net', name), own);
  }

  async #rdma(directory: string, name: string): Promise<void> {
    const number = /\d+$/.exec(name)?.[0];
    await mkdir(join(directory, 'infiniband_verbs', `uverbs${number}`), { recursive: true });
    await mkdir(join(directory, 'infiniband_mad', `umad${number}`), { recursive: true });
    await this.#files(join(directory, 'infiniband', name, 'ports/1/pkeys'), { '0': '0xFFFF\n' });
  }

  async #files(directory: string, files: Readonly<Record<string, string>>): Promise<void> {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await writeFile(join(directory, path), content);
    }
  }

  async #link(from: string, to: string): Promise<void> {
    await mkdir(dirname(from), { recursive: true });
    await symlink(relative(dirname(from), to), from);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]();
  }
}

/** Virtual functions of a physical one, at the addresses behind it. */
export function vfsOf(pf: Pci, ids: string, driver: string | undefined, count: number, name = 'v'): Pci[] {
  const [bus = ''] = pf.address.split(/:\d\d\.\d$/);
  return Array.from({ length: count }, (_, index) => ({
    address: `${bus}:${(2 + (index >> 3)).toString(16).padStart(2, '0')}.${index & 7}`,
    ids,
    numa: pf.numa ?? -1,
    vfOf: [pf.address, index] as const,
    ...(driver !== undefined && { driver }),
    ...(driver !== undefined &&
      !/vfio/.test(driver) && { net: { [`${basename(Object.keys(pf.net ?? {})[0] ?? 'pf')}${name}${index}`]: {} } }),
  }));
}

/** The walk-through's node: three ENIs, of which the first carries the default route. */
export const ena: readonly Pci[] = ['ens5', 'ens6', 'ens7'].map((name, index) => ({
  address: `0000:00:0${index + 5}.0`,
  ids: '1d0f:ec20',
  driver: 'ena',
  numa: 0,
  net: { [name]: {} },
}));

/** The walk-through's configuration. */
export const walkThrough = {
  resourceList: [{ resourceName: 'aws_ena_vf', selectors: { vendors: ['1d0f'], devices: ['ec20'], drivers: ['ena'] } }],
};
