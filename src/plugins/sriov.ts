import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { cniVersions } from '../cni/version.ts';
import { links } from '../linux/link.ts';
import { sysfsRoot } from '../linux/sysfs.ts';
import { Share } from './bridge/share.ts';
import { announceAddresses, Container, checkInterface, configureInterface } from './container-interface.ts';
import { refuseTakenName } from './create-link.ts';
import { moveIn, openNode, type Place } from './host-device/move.ts';
import { addIpam, checkIpam, dnsOf, gcIpam, removeThenDeleteIpam, statusIpam } from './ipam.ts';
import { announce } from './sriov/announce.ts';
import { parseSriov, type SriovConfig } from './sriov/config.ts';
import {
  type Device,
  differing,
  findDevice,
  interfaceOnNode,
  isUserspaceDriven,
  presentOf,
  requirePossible,
  setAddress,
  setAttributes,
} from './sriov/device.ts';
import { giveBack } from './sriov/give-back.ts';
import { idOf, type SavedState, StateFiles } from './sriov/state.ts';
import { readValidAttachments } from './valid-attachments.ts';

/**
 * A virtual function of a network card, given to one pod, with what its physical function lets it do; or a whole card, such as
 * an elastic network interface of AWS.
 *
 * The configuration, result and files are those of the sriov-cni project.
 *
 * @param sysfs Where devices are looked up.
 * @param directory Where it is noted what they were.
 */
export function createSriov(sysfs: string = sysfsRoot, directory = '/var/lib/cni/sriov'): Plugin {
  const files = new StateFiles(directory);
  return {
    type: 'sriov',
    versions: cniVersions,

    validate: parseSriov,

    async add(call) {
      const config = parseSriov(call);
      using container = Container.open(call.attachment);
      using node = openNode();
      await refuseTakenName(container, call.attachment.ifName);
      // What an ADD that was killed left.
      await release(node, container, call);
      return await inTurn(config.deviceId, () => attach(node, container, call, config));
    },

    async delete(call) {
      using node = openNode();
      using container = Container.openIfAny(call.attachment);
      await removeThenDeleteIpam(call, () => release(node, container, call));
    },

    async check(call) {
      const { deviceId, attributes, mtu } = parseSriov(call);
      await checkIpam(call);
      using container = Container.open(call.attachment);
      using node = openNode();
      const found = await findDevice(node.netlink, deviceId, sysfs);
      const [changed] = Object.keys(differing(found, attributes));
      if (changed !== undefined) {
        throw new CniError(ErrorCode.Internal, `virtual function ${deviceId} does not have its ${changed} any more`);
      }
      if (isUserspaceDriven(found)) return;
      const link = await checkInterface(container, call);
      if (mtu === undefined || link.mtu === mtu) return;
      throw new CniError(ErrorCode.Internal, `interface "${link.name}" has MTU ${link.mtu} instead of ${mtu}`);
    },

    status: statusIpam,

    async gc(call) {
      const valid = new Set(readValidAttachments(call.config).map(idOf));
      using node = openNode();
      const failures: unknown[] = [];
      for (const { id, state, remove } of await files.list()) {
        if (state.network !== call.config.name || valid.has(id)) continue;
        const free = inTurn(state.deviceId, async () => {
          const netns = (await files.holderOf(state.deviceId)) ?? '';
          using container = Container.openIfAny({ netns });
          await giveBack(node, container, state, sysfs);
          await remove();
        });
        await free.catch((error: unknown) => failures.push(error));
      }
      await gcIpam(call);
      if (failures.length > 0) throw failures[0];
    },
  };

  async function attach(node: Place, container: Container, call: PluginCall, config: SriovConfig): Promise<Result> {
    await freeOfEnded(node, config.deviceId);
    const found = await findDevice(node.netlink, config.deviceId, sysfs);
    await requirePossible(found, config.attributes, sysfs);
    const state = await describe(node, call, config, found);
    let isReserved = false;
    const reserve = async (): Promise<Result | undefined> => {
      const ipam = await addIpam(call);
      isReserved = true;
      return ipam;
    };
    const takeBack = async (): Promise<void> => {
      await giveBack(node, container, state, sysfs, state.isUp);
      await files.remove(call.attachment, state.deviceId);
    };
    await using undo = new AsyncDisposableStack();
    undo.defer(() => (isReserved ? removeThenDeleteIpam(call, takeBack) : takeBack()));
    await files.keep(call, state);
    await setAttributes(node.netlink, found, config.attributes);
    const made = isUserspaceDriven(found)
      ? await reportUserspaceDriven(call, config, found, reserve)
      : await moveAndConfigure(node, container, call, config, reserve);
    undo.move();
    return made;
  }

  /** Gives back what a pod that ended without a DEL had of a device. @throws {CniError} 11 while another pod has it. */
  async function freeOfEnded(node: Place, deviceId: string): Promise<void> {
    const netns = await files.holderOf(deviceId);
    if (netns === undefined) return;
    const noted = (await files.list()).filter(({ state }) => state.deviceId === deviceId);
    using holder = Container.openIfAny({ netns });
    // Where nothing is noted, an ADD was killed before it changed anything.
    if (holder !== undefined && noted.length > 0) {
      const message = `PCI device ${deviceId} is already allocated: ${netns} has it`;
      throw new CniError(ErrorCode.TryAgainLater, message, 'it is free once the DEL of that attachment has been made');
    }
    for (const { state, remove } of noted) {
      await giveBack(node, undefined, state, sysfs);
      await remove();
    }
  }

  /** What the device is before anything of it changes. */
  async function describe(
    node: Place,
    { config: { name: network } }: PluginCall,
    { deviceId, attributes: wanted }: SriovConfig,
    found: Device,
  ): Promise<SavedState> {
    const attributes = presentOf(found, differing(found, wanted));
    const { physical, vf } = found.function ?? {};
    const state = { network, deviceId, master: physical?.name ?? '', number: vf?.number ?? 0, attributes };
    if (isUserspaceDriven(found)) {
      return { ...state, hostName: undefined, alias: undefined, mac: undefined, mtu: undefined, isUp: false };
    }
    const link = await interfaceOnNode(node.netlink, deviceId, sysfs);
    if (link !== undefined) {
      const { name: hostName, alias, mac, mtu, flags } = link;
      return { ...state, hostName, alias, mac, mtu, isUp: flags.up };
    }
    throw new CniError(
      ErrorCode.Internal,
      `PCI device ${deviceId} has no interface on this node, and its driver is ${found.driver ?? 'none'}`,
      'bind it to the driver of its card, or to vfio-pci; where a pod has its interface, that pod must end first',
    );
  }

  async function moveAndConfigure(
    node: Place,
    container: Container,
    call: PluginCall,
    { deviceId, attributes, mtu, dns }: SriovConfig,
    reserve: () => Promise<Result | undefined>,
  ): Promise<Result> {
    const { ifName, netns } = call.attachment;
    const present = await interfaceOnNode(node.netlink, deviceId, sysfs);
    if (present === undefined) throw new CniError(ErrorCode.Internal, `the interface of ${deviceId} went away`);
    const ready = await setAddress(node.netlink, present, attributes.mac ?? present.mac);
    const link = await moveIn(node, container, ready, ifName);
    if (mtu !== undefined) await container.netlink.run(links.change(link.index, { mtu }));

    const ipam = await reserve();
    const { ips = [], routes = [] } = ipam ?? {};
    if (ips.length > 0) announceAddresses(container, ifName);
    await configureInterface(container, link, { ips, routes });
    await announce(container, link, ips);
    const { mac, mtu: current } = await container.link(ifName);
    return {
      interfaces: [{ name: ifName, mac, mtu: current, sandbox: netns, pciID: deviceId }],
      ips: ips.map((ip) => ({ ...ip, interface: 0 })),
      routes,
      dns: dnsOf(dns, ipam),
    };
  }

  /** What a program drives has no interface to move: it is only reported, with the addresses that were reserved for it. */
  async function reportUserspaceDriven(
    call: PluginCall,
    { deviceId, attributes, dns }: SriovConfig,
    { function: found }: Device,
    reserve: () => Promise<Result | undefined>,
  ): Promise<Result> {
    const { ifName, netns } = call.attachment;
    const ipam = await reserve();
    const given = found?.vf.mac ?? '';
    const mac = attributes.mac ?? (/^[0:]*$/.test(given) ? undefined : given);
    return {
      interfaces: [{ name: ifName, ...(mac !== undefined && { mac }), sandbox: netns, pciID: deviceId }],
      ips: (ipam?.ips ?? []).map((ip) => ({ ...ip, interface: 0 })),
      routes: ipam?.routes ?? [],
      dns: dnsOf(dns, ipam),
    };
  }

  /** Gives back what an attachment has; nothing where nothing is noted. */
  async function release(node: Place, container: Container | undefined, { attachment }: PluginCall): Promise<void> {
    const noted = await files.read(attachment);
    if (noted === undefined) return;
    await inTurn(noted.deviceId, async () => {
      const state = await files.read(attachment);
      if (state === undefined) return;
      // A DEL may name no namespace while it is there.
      const netns = container === undefined ? await files.holderOf(state.deviceId) : undefined;
      using holder = Container.openIfAny({ netns: netns ?? '' });
      await giveBack(node, container ?? holder, state, sysfs);
      await files.remove(attachment, state.deviceId);
    });
  }
}

export const sriov: Plugin = createSriov();

/** One attachment of a device at a time. */
async function inTurn<T>(deviceId: string, work: () => Promise<T>): Promise<T> {
  await using share = new Share(`sriov ${deviceId}`);
  return await share.inTurn(work);
}
