import { z } from 'zod';
import { requireKnownArgs } from '../cni/args.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { ConfigCall, Plugin } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { CommandError } from '../linux/command.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { storeSysctl } from '../linux/sysctl.ts';
import { createTap, createTapInContext } from '../linux/tun.ts';
import { findBridge, type NodeBridge } from './bridge/node-bridge.ts';
import { Container, checkInterface, configure, configureInterface, release, resultOf } from './container-interface.ts';
import { makeWithAddresses, refuseTakenName } from './create-link.ts';
import { addIpam, checkIpam, gcIpam, interfacePluginKeys, statusIpam } from './ipam.ts';
import { macAddress, macArgument } from './mac-address.ts';

/** The largest number of a user or group; the one after it means none (linux/uidgid.h). */
const lastId = 0xfffffffe;
const id = z.int().min(0).max(lastId).optional();

const schema = z.object({
  ...interfacePluginKeys,
  multiQueue: z.boolean().default(false),
  /** 0: the kernel's default. */
  mtu: z.int().min(0).default(0),
  mac: macAddress.optional(),
  /** User and group of the program that may open it. */
  owner: id,
  group: id,
  /** What SELinux knows the interface as. Empty: as it knows this process. */
  selinuxContext: z.string().default(''),
  /** A bridge in the container that it becomes a port of. */
  bridge: z.string().default(''),
  runtimeConfig: z.object({ mac: macAddress.optional() }).default({}),
});

type TapConfig = ReturnType<typeof parse>;

/**
 * An interface whose other end is a program in the container, such as a virtual machine.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists.
 */
export const tap: Plugin = {
  type: 'tap',
  versions: cniVersions,

  validate: parse,

  async add(call) {
    const config = parse(call);
    const { ifName, netns } = call.attachment;
    using container = Container.open(call.attachment);
    const bridge = await findContainerBridge(container, config);

    await using undo = new AsyncDisposableStack();
    const making = create(container, ifName, bridge, config);
    const [link, ipam] = await makeWithAddresses(undo, container, call, making, () => addIpam(call));
    const result = resultOf(ifName, link, netns, ipam, config.dns);
    if (ipam !== undefined) {
      storeSysctl(container.namespace, 1, 'ipv4', 'conf', ifName, 'arp_notify');
      // Nobody can be asked before a program has opened the tap: addresses would stay tentative, and ADD would wait.
      storeSysctl(container.namespace, 0, 'ipv6', 'conf', ifName, 'accept_dad');
    }
    await configureInterface(container, link, result);
    undo.move();
    return result;
  },

  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    await release(container, call);
  },

  async check(call) {
    const config = parse(call);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    const bridge = await findContainerBridge(container, config);
    const { name, kind, master } = await checkInterface(container, call);
    if (kind !== 'tun') throw failure(`Container interface ${name} not of type tap`);
    if (bridge !== undefined && master !== bridge.index)
      throw failure(`tap ${name} is no port of bridge ${bridge.name}`);
  },

  status: statusIpam,
  gc: gcIpam,
};

/** The MAC address is the runtime's, or that of CNI_ARGS, or the configuration's. */
function parse({ config, attachment }: ConfigCall) {
  requireKnownArgs(attachment.args, ['MAC']);
  const { runtimeConfig, mac, ...parsed } = parsePluginConfig(schema, config);
  return { ...parsed, mac: runtimeConfig.mac ?? macArgument(attachment.args) ?? mac };
}

async function findContainerBridge(
  { netlink, namespace }: Container,
  { bridge: name }: TapConfig,
): Promise<NodeBridge | undefined> {
  if (name === '') return undefined;
  const bridge = await findBridge(netlink, name);
  if (bridge !== undefined) return bridge;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `failed to get bridge ${name}: not found in the container (${namespace.path})`,
    'a plugin of an earlier network or of the same chain must have made it',
  );
}

/** Makes the interface. When it throws, nothing of it is left. */
async function create(
  container: Container,
  name: string,
  bridge: NodeBridge | undefined,
  { multiQueue, owner, group, selinuxContext, mtu, mac }: TapConfig,
): Promise<Link> {
  await refuseTakenName(container, name);
  const newTap = { name, multiQueue, owner, group };
  try {
    await (selinuxContext === ''
      ? createTap(container.namespace, newTap)
      : createTapInContext(container.namespace, newTap, selinuxContext));
  } catch (error) {
    throw creationFailure(name, selinuxContext, error);
  }
  await using undo = new AsyncDisposableStack();
  undo.defer(() => container.removeLink(name));
  const { index } = await container.link(name);
  // Up before it gets addresses: without a carrier, the kernel adds the multicast route with an address only.
  await configure(container, name, [
    links.change(index, { mtu: mtu || undefined, mac, master: bridge?.index, up: true }),
  ]);
  const link = await container.link(name);
  undo.move();
  return link;
}

function creationFailure(name: string, selinuxContext: string, error: unknown): unknown {
  if (error instanceof CommandError) {
    return new CniError(ErrorCode.Internal, `failed to create tap "${name}": ${error.message}`, '', { cause: error });
  }
  if (!isKernelError(error)) return error;
  const remedies: Readonly<Record<string, string>> = {
    EBUSY: 'the container has an interface of this name',
    EINVAL:
      selinuxContext === '' ? '' : 'selinuxContext is for nodes with SELinux, and must be a context of its policy',
    ENODEV: "the node's kernel has no tun: load its module, modprobe tun",
    ENOENT:
      "/dev/net/tun is not there: load the kernel's module, modprobe tun, and let the daemon see the node's devices",
  };
  const message = `failed to create tap "${name}": ${error.message}`;
  return new CniError(ErrorCode.Internal, message, remedies[error.code] ?? '', { cause: error });
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
