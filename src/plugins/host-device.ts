import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Attachment, Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result, ResultDNS } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import type { Link } from '../linux/link.ts';
import { sysfsRoot } from '../linux/sysfs.ts';
import { Container, checkInterface, configureInterface, resultOf } from './container-interface.ts';
import { refuseTakenName } from './create-link.ts';
import { moveIn, moveOut, openNode, type Place, renameOnNode } from './host-device/move.ts';
import {
  findDevice,
  findLink,
  findReturned,
  isUserspaceDriven,
  notFound,
  parseWanted,
  type Wanted,
} from './host-device/selection.ts';
import {
  addIpam,
  checkIpam,
  deleteIpam,
  gcIpam,
  interfacePluginKeys,
  isIndependentIpam,
  removeThenDeleteIpam,
  statusIpam,
} from './ipam.ts';

const schema = z.object({ dns: interfacePluginKeys.dns });

/**
 * A device of the node, given to one pod as it is.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists.
 *
 * @param sysfs Where the devices on buses are looked up.
 */
export const createHostDevice = (sysfs: string = sysfsRoot): Plugin => ({
  type: 'host-device',
  versions: cniVersions,

  validate({ config }) {
    parseWanted(config);
  },

  async add(call) {
    const { ifName } = call.attachment;
    const wanted = parseWanted(call.config);
    using container = Container.open(call.attachment);
    if (await isUserspaceDriven(wanted, sysfs)) return addUserspaceDriven(call);
    using node = openNode();
    const device = await deviceOf(node, wanted, ifName, sysfs);
    await refuseTakenName(container, ifName);

    await using undo = new AsyncDisposableStack();
    const reserve = async (): Promise<Result | undefined> => {
      const reserved = await addIpam(call);
      undo.defer(() => deleteIpam(call));
      return reserved;
    };
    const isFirst = isIndependentIpam(call.config);
    const early = isFirst ? await reserve() : undefined;
    const link = await moveIn(node, container, device, ifName);
    undo.defer(() => moveOut(node, container, link, device));
    const ipam = isFirst ? early : await reserve();
    const result = resultOf(ifName, link, call.attachment.netns, ipam, dnsOf(call, ipam));
    await configureInterface(container, link, result);
    undo.move();
    return result;
  },

  async delete(call) {
    const { ifName } = call.attachment;
    const wanted = parseWantedIfAny(call);
    using node = openNode();
    using container = Container.openIfAny(call.attachment);
    await removeThenDeleteIpam(call, async () => {
      if (container !== undefined) await takeOut(node, container, ifName, wanted);
      else if (wanted !== undefined) await takeReturned(node, wanted, call.attachment, sysfs);
    });
  },

  async check(call) {
    const wanted = parseWanted(call.config);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    if (call.prevResult === undefined) {
      throw new CniError(ErrorCode.InvalidNetworkConfig, 'Required prevResult missing');
    }
    if (!(await isUserspaceDriven(wanted, sysfs))) await checkInterface(container, call);
  },

  status: statusIpam,
  gc: gcIpam,
});

export const hostDevice: Plugin = createHostDevice();

/** What a program drives has no interface to move: it is only reported, with the addresses that were reserved for it. */
async function addUserspaceDriven(call: PluginCall): Promise<Result> {
  const { ifName, netns } = call.attachment;
  const ipam = await addIpam(call);
  return {
    interfaces: [{ name: ifName, sandbox: netns }],
    ips: (ipam?.ips ?? []).map((ip) => ({ ...ip, interface: 0 })),
    routes: ipam?.routes ?? [],
    dns: dnsOf(call, ipam),
  };
}

/** The original answers with the configuration's dns only where there is an IPAM. */
function dnsOf({ config }: PluginCall, ipam: Result | undefined): ResultDNS {
  return ipam === undefined ? {} : parsePluginConfig(schema, config).dns;
}

/** The device, under its own name: a DEL that came before the kernel had put it back on the node could not give it that. */
async function deviceOf(node: Place, { selection }: Wanted, ifName: string, sysfs: string): Promise<Link> {
  const found = await findDevice(node.netlink, selection, sysfs);
  if (found !== undefined && !isReturned(found, ifName)) return found;
  const returned = found ?? (selection.by === 'device' ? await findReturned(node.netlink, selection.name) : undefined);
  if (returned?.alias === undefined) throw await notFound(node.netlink, selection);
  await renameOnNode(node, returned, returned.alias);
  return { ...returned, name: returned.alias, alias: undefined };
}

/** What is wrong in the configuration since the ADD must not keep a DEL from releasing what it can. */
function parseWantedIfAny({ config }: PluginCall): Wanted | undefined {
  try {
    return parseWanted(config);
  } catch (thrown) {
    if (thrown instanceof CniError) return undefined;
    throw thrown;
  }
}

async function takeOut(node: Place, container: Container, ifName: string, wanted: Wanted | undefined): Promise<void> {
  const link = await findLink(container.netlink, ifName);
  if (link === undefined) return;
  const name = await nameOnNode(container, link, wanted);
  if (name !== undefined) await moveOut(node, container, link, { name, alias: undefined, flags: { up: false } });
}

/**
 * The name that a container's interface had on the node; undefined for one that was not moved from there: an ADD that
 * failed because the name was taken is followed by a DEL, which must not touch what has the name.
 */
async function nameOnNode(
  container: Container,
  { name, index, alias, kind, flags }: Link,
  wanted: Wanted | undefined,
): Promise<string | undefined> {
  if (alias === undefined) {
    if (kind !== undefined || flags.loopback) return undefined;
    throw new CniError(
      ErrorCode.Internal,
      `failed to find original ifname for "${name}" (alias is not set)`,
      `${container.namespace.path} holds hardware that nothing says the name of: move it to the node by hand`,
    );
  }
  if (wanted?.selection.by !== 'device' || alias === wanted.selection.name) return alias;
  // The configuration may have named it by an alternative name, which it keeps wherever it goes.
  const alternative = await findLink(container.netlink, wanted.selection.name);
  return alternative?.index === index ? alias : undefined;
}

/** Where the namespace ended before the DEL, the kernel has put hardware back on the node, under the container's name. */
async function takeReturned(node: Place, { selection }: Wanted, { ifName }: Attachment, sysfs: string): Promise<void> {
  const link =
    selection.by === 'device'
      ? await findReturned(node.netlink, selection.name)
      : await findDevice(node.netlink, selection, sysfs);
  if (link?.alias !== undefined && isReturned(link, ifName)) await renameOnNode(node, link, link.alias);
}

/** Whether a device of the node has a container's name, from which the kernel put it back; its own is its alias. */
function isReturned({ name, alias, flags }: Link, ifName: string): boolean {
  if (alias === undefined || alias === name || flags.up) return false;
  // devN is the kernel's own choice where the node has an interface of that name (default_device_exit_net).
  return name === ifName || /^dev\d+$/.test(name);
}
