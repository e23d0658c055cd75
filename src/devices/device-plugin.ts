import { readFile, stat } from 'node:fs/promises';
import type { JsonObject } from '../cni/json.ts';
import { sysfsRoot } from '../linux/sysfs.ts';
import { containerDevices, givenFor } from './allocation.ts';
import { Changes } from './changes.ts';
import { parseResourceConfig, type Resource, type ResourceConfig } from './config.ts';
import { withProfiles } from './ddp.ts';
import { discover, type Hardware } from './discover.ts';
import { cdiName, removeDeviceInfo, removeOtherCdi, writeCdi, writeDeviceInfo } from './files.ts';
import { type Memory, readMemory, recall, remember, writeMemory } from './memory.ts';
import { nodeDefaultInterfaces } from './node.ts';
import { nextOffer, type Offer } from './offer.ts';
import { ResourceServer } from './resource-server.ts';
import { select } from './select.ts';

/** The part of a logger that is used here. */
export interface DeviceLog {
  info(about: object, text: string): void;
  warn(about: object, text: string): void;
  error(about: object, text: string): void;
}

export interface DevicePluginOptions {
  /** The sriov-network-device-plugin's config.json. It is followed: who changes it need not start anything anew. */
  readonly configFile: string;
  /** Of resources that name no prefix. */
  readonly prefix: string;
  readonly kubeletDir: string;
  /** Above dp. */
  readonly deviceInfoDir: string;
  /** What is to be remembered of devices that pods have. */
  readonly memoryFile: string;
  /** Where CDI specifications are written; absent: containers get device files from kubelet. */
  readonly cdiDir?: string | undefined;
  readonly log: DeviceLog;
  /** Called for each container that gets devices, or does not. */
  readonly allocated?: (resource: string, isGiven: boolean) => void;
  readonly root?: string;
  /** Interfaces that default routes of the node lead through. */
  readonly defaultInterfaces?: () => Promise<readonly string[]>;
  /** Milliseconds between two looks. */
  readonly interval?: number;
}

/** Milliseconds after which all is looked at, whether or not something seems to have changed. */
const everythingAfter = 60_000;

interface Served {
  readonly resource: Resource;
  readonly server: ResourceServer;
  offer: Offer;
}

/** Offers the devices of this node to kubelet, as resources. */
export class NodeDevices implements AsyncDisposable {
  readonly #options: DevicePluginOptions;
  readonly #served = new Map<string, Served>();
  #config: ResourceConfig = { resources: [], problems: [], unknown: [] };
  #configVersion: string | undefined;
  /** Whether it is not served yet. */
  #isOther = false;
  #memory: Memory = {};
  #hardware: Hardware = { devices: [], hasVhostNet: false, hasRdmaCm: false };
  readonly #changes: Changes;
  #seen: string | undefined;
  #seenAt = 0;
  /** What was complained about last, so that it is said once. */
  readonly #complaints = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #isClosed = false;

  private constructor(options: DevicePluginOptions) {
    this.#options = options;
    this.#changes = new Changes(options.root ?? sysfsRoot);
  }

  /** Looks once, then again and again. What fails is told in the log, and tried again. */
  static async start(options: DevicePluginOptions): Promise<NodeDevices> {
    const devices = new NodeDevices(options);
    devices.#memory = await readMemory(options.memoryFile);
    await devices.#look();
    devices.#schedule();
    return devices;
  }

  /** How many devices there are of each resource, by their health. */
  counts(): { readonly resource: string; readonly health: string; readonly count: number }[] {
    return [...this.#served.values()].flatMap(({ resource, offer }) => {
      const faulty = [...offer.values()].filter(({ fault }) => fault !== undefined).length;
      return [
        { resource: resource.fullName, health: 'Healthy', count: offer.size - faulty },
        { resource: resource.fullName, health: 'Unhealthy', count: faulty },
      ];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#looking;
    for (const { server, resource } of this.#served.values()) {
      await server[Symbol.asyncDispose]();
      await removeDeviceInfo(this.#options.deviceInfoDir, resource);
    }
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().finally(() => this.#schedule());
    }, this.#options.interval ?? 1_000).unref();
  }

  async #look(): Promise<void> {
    const { configFile, log } = this.#options;
    await this.#try({ file: configFile }, () => this.#readConfig());
    await this.#try({ at: 'devices' }, async () => {
      if (this.#isOther) {
        await this.#serveConfigured();
        // What is read of devices depends on what is asked of them.
        this.#seen = undefined;
      }
      if (await this.#hasChanged()) await this.#offer();
      this.#isOther = false;
    });
    for (const { server, resource } of this.#served.values()) {
      await this.#try({ resource: resource.fullName }, async () => {
        if (await server.check()) log.info({ resource: resource.fullName }, 'registered with kubelet');
      });
    }
  }

  /** What cannot be read leaves the one before in force. */
  async #readConfig(): Promise<void> {
    const { configFile, prefix, log } = this.#options;
    const { ino, mtimeNs, size } = await stat(configFile, { bigint: true });
    const version = `${ino}:${mtimeNs}:${size}`;
    if (version === this.#configVersion) return;
    const config = parseResourceConfig(await readFile(configFile, 'utf8'), configFile, prefix);
    this.#configVersion = version;
    this.#config = config;
    this.#isOther = true;
    for (const problem of config.problems) log.error({ problem }, 'a resource of devices is left out');
    if (config.unknown.length > 0) {
      log.warn({ file: configFile, keys: config.unknown }, 'nobody knows these keys of the configuration of devices');
    }
  }

  /** Serves the resources of the configuration, and no others. What is offered of one that stays is kept. */
  async #serveConfigured(): Promise<void> {
    const { kubeletDir, deviceInfoDir, cdiDir, allocated } = this.#options;
    const wanted = new Map(this.#config.resources.map((resource) => [resource.fullName, resource]));
    const offers = new Map<string, Offer>();
    for (const [name, { resource, server, offer }] of this.#served) {
      if (JSON.stringify(wanted.get(name)) === JSON.stringify(resource)) continue;
      if (wanted.has(name)) offers.set(name, offer);
      else await removeDeviceInfo(deviceInfoDir, resource);
      await server[Symbol.asyncDispose]();
      this.#served.delete(name);
    }
    for (const [name, resource] of wanted) {
      if (this.#served.has(name)) continue;
      const server = new ResourceServer({
        kubeletDir,
        resource,
        give: (devices) => {
          const given = containerDevices(resource, devices, this.#hardware);
          if (cdiDir === undefined) return { ...given, cdiNames: [] };
          const withFiles = devices.filter(
            (each) => givenFor(each, resource, this.#hardware.hasRdmaCm).files.length > 0,
          );
          return { ...given, files: [], cdiNames: withFiles.map(({ device }) => cdiName(resource, device.id)) };
        },
        allocated: (ids, failure) => {
          allocated?.(name, failure === undefined);
          const about = { resource: name, devices: ids };
          if (failure === undefined) this.#options.log.info(about, 'devices given to a container');
          else this.#options.log.warn({ ...about, reason: failure }, 'devices not given to a container');
        },
      });
      this.#served.set(name, { resource, server, offer: offers.get(name) ?? new Map() });
    }
    await removeOtherCdi(cdiDir ?? defaultCdiDir, cdiDir === undefined ? [] : this.#config.resources);
  }

  async #hasChanged(): Promise<boolean> {
    const { root = sysfsRoot } = this.#options;
    const carriers = await (this.#options.defaultInterfaces ?? nodeDefaultInterfaces)();
    const seen = `${await this.#changes.fingerprint()} ${carriers.join(' ')}`;
    const now = Date.now();
    if (seen === this.#seen && now - this.#seenAt < everythingAfter) return false;
    const there = await discover({ root, defaultInterfaces: carriers });
    const found = recall(await withProfiles(there, this.#config.resources), this.#memory);
    this.#hardware = found;
    this.#seen = seen;
    this.#seenAt = now;
    const memory = remember(found, this.#memory);
    if (memory !== this.#memory) {
      this.#memory = memory;
      await this.#try({ file: this.#options.memoryFile }, () => writeMemory(this.#options.memoryFile, memory));
    }
    return true;
  }

  async #offer(): Promise<void> {
    const { deviceInfoDir, cdiDir, log } = this.#options;
    const candidates = select(this.#config.resources, this.#hardware);
    for (const served of this.#served.values()) {
      const { resource, server, offer: previous } = served;
      const offer = nextOffer(resource, candidates, previous, Date.now());
      served.offer = offer;
      await this.#try({ resource: resource.fullName, directory: deviceInfoDir }, () =>
        writeDeviceInfo(deviceInfoDir, resource, offer),
      );
      if (cdiDir !== undefined) {
        await this.#try({ resource: resource.fullName, directory: cdiDir }, () =>
          writeCdi(cdiDir, resource, offer, this.#hardware.hasRdmaCm),
        );
      }
      const changes = differences(previous, offer);
      if (Object.keys(changes).length > 0) log.info({ resource: resource.fullName, ...changes }, 'devices offered');
      // A device that is not ready for a container must not be given to one.
      server.update(offer);
    }
  }

  /** What fails once will be tried again at the next look. */
  async #try(about: Readonly<Record<string, string>>, work: () => Promise<void>): Promise<void> {
    const key = JSON.stringify(about);
    try {
      await work();
      this.#complaints.delete(key);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (this.#complaints.get(key) === message) return;
      this.#complaints.set(key, message);
      this.#options.log.error({ ...about, err: error }, 'the devices of this node cannot be offered as they should be');
    }
  }
}

/** Where container runtimes look for CDI specifications of what is there until the next start. */
export const defaultCdiDir = '/var/run/cdi';

/** Ids of devices that have come, have gone, are faulty or well again; what there is none of is left out. */
function differences(before: Offer, after: Offer): JsonObject {
  const came = [...after].filter(([id, { fault }]) => !before.has(id) && fault === undefined).map(([id]) => id);
  const left = [...before.keys()].filter((id) => !after.has(id));
  const faulty = [...after].flatMap(([id, { fault }]) =>
    fault !== undefined && fault !== before.get(id)?.fault ? [`${id}: ${fault}`] : [],
  );
  const well = [...after].filter(([id, { fault }]) => before.get(id)?.fault !== undefined && fault === undefined);
  const lists = { came, left, faulty, well: well.map(([id]) => id) };
  return Object.fromEntries(Object.entries(lists).filter(([, ids]) => ids.length > 0));
}
