import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readdir, readFile, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isDeviceName, sysfsRoot } from '../linux/sysfs.ts';
import type { DeviceType } from './config-schema.ts';
import { deviceFiles, type Rdma } from './device-files.ts';
import { type VdpaDevice, vdpaDevices } from './vdpa.ts';

/*
 * Devices of the node that may become resources, as sysfs(5) has them. Most of it is read without threads: numbers and
 * links in the kernel's memory, for which no device and no lock of one is asked (sriov_numvfs, for instance, waits until the
 * VFs that are being made are there, and is not read). A node can have 8,192 VFs: others get their turn every millisecond.
 */

/** A device that may become a resource. */
export interface Device {
  /** Its PCI address, or the name of an auxiliary device. */
  readonly id: string;
  readonly type: DeviceType;
  /** Its own, or that of the PCI device that carries it. */
  readonly pciAddress: string;
  /** Four hexadecimal digits, as `device`. */
  readonly vendor: string;
  readonly device: string;
  /** Of the PCI device. */
  readonly driver: string | undefined;
  /** Whether the device itself has a driver, whichever bus it is on. */
  readonly isBound: boolean;
  readonly numaNode: number | undefined;
  /** Number of the firmware for devices on the board. */
  readonly acpiIndex: string | undefined;
  /** Its physical function: itself, where it is none's VF. */
  readonly pf: { readonly address: string; readonly interface: string | undefined };
  readonly isVf: boolean;
  /** Number of a VF or subfunction in its physical function. */
  readonly index: number | undefined;
  /** VFs that it has. */
  readonly vfs: number;
  /** In the node's namespace: none while a pod has them. */
  readonly interfaces: readonly string[];
  /** `ether`, `infiniband`; undefined without an interface. */
  readonly linkType: string | undefined;
  /** The first partition key of an InfiniBand port. */
  readonly pKey: string | undefined;
  readonly rdma: Rdma | undefined;
  readonly vdpa: VdpaDevice | undefined;
  /** The middle of an auxiliary device's name. */
  readonly auxType: string | undefined;
  /** Of Intel's dynamic device personalization; looked up only where a selector asks for one. */
  readonly ddpProfile?: string;
  /** For drivers that hand the device to a program. */
  readonly iommuGroup: { readonly number: string; readonly isMissingIommu: boolean } | undefined;
  /** Such as `uio0`. */
  readonly uio: string | undefined;
  /** The interface by which the default route leads through this device. */
  readonly defaultRoute: string | undefined;
}

export interface Hardware {
  readonly devices: readonly Device[];
  /** Whether there are /dev/vhost-net and /dev/net/tun. */
  readonly hasVhostNet: boolean;
  /** Whether there is /dev/infiniband/rdma_cm. */
  readonly hasRdmaCm: boolean;
}

export interface DiscoverOptions {
  readonly root?: string;
  /** Interfaces of the node that default routes lead through. */
  readonly defaultInterfaces: readonly string[];
}

/** PCI classes: pci-ids, section C. */
const types: Readonly<Record<string, DeviceType>> = { '02': 'netDevice', '12': 'accelerator' };

/** ARPHRD_* of linux/if_arp.h. */
const linkTypes: Readonly<Record<string, string>> = { 1: 'ether', 32: 'infiniband' };

/** What a device is, which all VFs of a physical function are alike. */
interface Model {
  readonly type: DeviceType;
  readonly vendor: string;
  readonly device: string;
}

/** A PCI device as its directory has it. */
interface Function extends Model {
  readonly address: string;
  readonly directory: string;
  /** Names in it that are of use. */
  readonly entries: ReadonlySet<string>;
  readonly driver: string | undefined;
  /** The physical function of a VF. */
  readonly pf: string | undefined;
}

const ofUse =
  /^(acpi_index|driver|infiniband(_verbs|_mad)?|iommu_group|net|physfn|uio|virtfn\d+|virtio\d+|\w[\w-]*\.\w[\w-]*\.\d+)$/;

/** @throws {Error} when there is no sysfs. */
export async function discover({ root = sysfsRoot, defaultInterfaces }: DiscoverOptions): Promise<Hardware> {
  const breath = new Breath();
  const bus = join(root, 'bus/pci/devices');
  const carriers = await carriersOf(root, defaultInterfaces);
  const vdpa = await vdpaDevices(root);
  const functions: Function[] = [];
  const models = new Map<string, Model | undefined>();
  for (const address of (await readdir(bus)).sort()) {
    await breath.take();
    const found = isDeviceName('pci', address) ? readFunction(join(bus, address), address, models) : undefined;
    if (found !== undefined) functions.push(found);
  }
  const physical = new Physical(bus, functions);
  const devices: Device[] = [];
  for (const each of functions) {
    await breath.take();
    const { address, directory, entries, type, vendor, device, driver, pf } = each;
    const interfaces = interfacesIn(directory, entries);
    const shared = {
      pciAddress: address,
      vendor,
      device,
      driver,
      numaNode: physical.numaNode(pf ?? address),
      acpiIndex: entries.has('acpi_index') ? textOf(join(directory, 'acpi_index')) : undefined,
    };
    devices.push({
      ...shared,
      id: address,
      type,
      isBound: driver !== undefined,
      pf: { address: pf ?? address, interface: await physical.interface(pf ?? address) },
      isVf: pf !== undefined,
      index: pf === undefined ? undefined : physical.functions(pf).get(address),
      vfs: physical.functions(address).size,
      ...factsOf(root, directory, entries, interfaces),
      vdpa: vdpa.get(address),
      auxType: undefined,
      defaultRoute: interfaces.find((name) => carriers.has(name)),
    });
    if (type !== 'netDevice' || !entries.has('net')) continue;
    for (const name of entries) {
      if (!isDeviceName('auxiliary', name)) continue;
      const own = join(directory, name);
      const inside = new Set(namesIn(own));
      const names = interfacesIn(own, inside);
      const number = inside.has('sfnum') ? Number(textOf(join(own, 'sfnum'))) : undefined;
      devices.push({
        ...shared,
        id: name,
        type: 'auxNetDevice',
        isBound: inside.has('driver'),
        pf: { address, interface: await physical.interface(address) },
        isVf: false,
        index: number,
        vfs: 0,
        ...factsOf(root, own, inside, names),
        vdpa: undefined,
        auxType: name.split('.')[1],
        defaultRoute: names.find((name) => carriers.has(name)),
      });
    }
  }
  const misc = new Set(await readdir(join(root, 'class/misc')).catch(() => []));
  return { devices, hasVhostNet: misc.has('vhost-net') && misc.has('tun'), hasRdmaCm: misc.has('rdma_cm') };
}

/** @returns undefined for a device of another class, or one that has just gone. */
function readFunction(
  directory: string,
  address: string,
  models: Map<string, Model | undefined>,
): Function | undefined {
  const entries = new Set(namesIn(directory).filter((name) => ofUse.test(name)));
  const pf = entries.has('physfn') ? targetOf(join(directory, 'physfn')) : undefined;
  const key = pf ?? `own ${address}`;
  if (!models.has(key)) models.set(key, readModel(directory));
  const model = models.get(key);
  if (model === undefined) return undefined;
  const driver = entries.has('driver') ? targetOf(join(directory, 'driver')) : undefined;
  return { address, directory, entries, ...model, driver, pf };
}

function readModel(directory: string): Model | undefined {
  // pci:v00008086d000010CAsv...sd...bc02sc00i00 (modalias_show, pci-sysfs.c)
  const alias = textOf(join(directory, 'modalias')) ?? '';
  const [, vendor = '', device = '', pciClass = ''] =
    /^pci:v0000([\dA-F]{4})d0000([\dA-F]{4}).*bc([\dA-F]{2})sc/.exec(alias) ?? [];
  const type = types[pciClass];
  return type && { type, vendor: vendor.toLowerCase(), device: device.toLowerCase() };
}

/** What is read alike of a PCI device and of an auxiliary one. */
function factsOf(root: string, directory: string, entries: ReadonlySet<string>, interfaces: readonly string[]) {
  const [first] = interfaces;
  const code = first === undefined ? undefined : textOf(join(root, 'class/net', first, 'type'));
  const linkType = code === undefined ? undefined : (linkTypes[code] ?? `type ${code}`);
  const { rdma, pKey, iommuGroup, uio } = deviceFiles(directory, entries, { namesIn, textOf, targetOf });
  return { interfaces, linkType, rdma, pKey: linkType === 'infiniband' ? pKey : undefined, iommuGroup, uio };
}

/** Those of a virtio device are one level below the PCI device. */
function interfacesIn(directory: string, entries: ReadonlySet<string>): readonly string[] {
  if (entries.has('net')) return namesIn(join(directory, 'net'));
  for (const name of entries) {
    if (/^virtio\d+$/.test(name)) return namesIn(join(directory, name, 'net'));
  }
  return [];
}

/** What physical functions tell of all of theirs, each read once. */
class Physical {
  readonly #bus: string;
  readonly #known: ReadonlyMap<string, Function>;
  readonly #functions = new Map<string, ReadonlyMap<string, number>>();
  readonly #numaNodes = new Map<string, number | undefined>();
  readonly #interfaces = new Map<string, string | undefined>();

  constructor(bus: string, functions: readonly Function[]) {
    this.#bus = bus;
    this.#known = new Map(functions.map((each) => [each.address, each]));
  }

  #entries(address: string): Iterable<string> {
    return this.#known.get(address)?.entries ?? namesIn(join(this.#bus, address));
  }

  /** The numbers of its VFs, by their addresses. */
  functions(address: string): ReadonlyMap<string, number> {
    const known = this.#functions.get(address);
    if (known !== undefined) return known;
    const numbers = new Map<string, number>();
    for (const name of this.#entries(address)) {
      const [, number] = /^virtfn(\d+)$/.exec(name) ?? [];
      const target = number === undefined ? undefined : targetOf(join(this.#bus, address, name));
      if (target !== undefined) numbers.set(target, Number(number));
    }
    this.#functions.set(address, numbers);
    return numbers;
  }

  numaNode(address: string): number | undefined {
    if (!this.#numaNodes.has(address)) {
      const number = Number(textOf(join(this.#bus, address, 'numa_node')) ?? -1);
      this.#numaNodes.set(address, number >= 0 ? number : undefined);
    }
    return this.#numaNodes.get(address);
  }

  /** Its own interface: not one that stands for a VF, as a switch has them there as well. */
  async interface(address: string): Promise<string | undefined> {
    if (this.#interfaces.has(address)) return this.#interfaces.get(address);
    const directory = join(this.#bus, address);
    const names = interfacesIn(directory, new Set(this.#entries(address)));
    let [own] = names;
    if (names.length > 1) {
      // Reading it waits for rtnl_lock, hence on a thread.
      const ports = await Promise.all(
        names.map((name) => readFile(join(directory, 'net', name, 'phys_port_name'), 'utf8').catch(() => '')),
      );
      own = names.find((_, index) => /^p\d+$/.test(ports[index]?.trim() ?? '')) ?? own;
    }
    this.#interfaces.set(address, own);
    return own;
  }
}

/** The interfaces, and all that they stand on: ports of a bond or bridge, what a VLAN is on. */
async function carriersOf(root: string, interfaces: readonly string[]): Promise<ReadonlySet<string>> {
  const carriers = new Set<string>();
  for (const queue = [...interfaces]; queue.length > 0; ) {
    const name = queue.pop();
    if (name === undefined || carriers.has(name)) continue;
    carriers.add(name);
    const directory = await realpath(join(root, 'class/net', name)).catch(() => undefined);
    const entries = directory === undefined ? [] : await readdir(directory).catch(() => []);
    queue.push(...entries.flatMap((entry) => (entry.startsWith('lower_') ? [entry.slice('lower_'.length)] : [])));
  }
  return carriers;
}

/** Lets others have their turn when a millisecond has passed. */
class Breath {
  #since = performance.now();

  async take(): Promise<void> {
    if (performance.now() - this.#since < 1) return;
    await setImmediate();
    this.#since = performance.now();
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function targetOf(link: string): string | undefined {
  try {
    return basename(readlinkSync(link));
  } catch {
    return undefined;
  }
}
