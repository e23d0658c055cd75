import { z } from 'zod';
import { requireKnownArgs } from '../cni/args.ts';
import { CniError, ErrorCode } from '../cni/error.ts';
import { oncePerConfig } from '../cni/once.ts';
import type { ConfigCall, Plugin } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import {
  announceAddresses,
  Container,
  checkInterface,
  configureInterface,
  release,
  resultOf,
} from './container-interface.ts';
import { createWithAddresses, openHome } from './create-link.ts';
import { addIpam, checkIpam, gcIpam, interfacePluginKeys, statusIpam } from './ipam.ts';
import { macAddress, macArgument } from './mac-address.ts';
import { checkMtu, findMaster } from './master.ts';

const schema = z.object({
  ...interfacePluginKeys,
  /** Empty: the interface of the default route. */
  master: z.string().default(''),
  mode: z
    .enum(['', 'bridge', 'private', 'vepa', 'passthru'], 'expected bridge, private, vepa or passthru')
    .default('bridge')
    .transform((mode) => mode || 'bridge'),
  /** 0: the master's. */
  mtu: z.int().min(0).default(0),
  mac: macAddress.optional(),
  /** The master is an interface of the container. */
  linkInContainer: z.boolean().default(false),
  bcqueuelen: z.int().min(0).max(0xffffffff).optional(),
  runtimeConfig: z.object({ mac: macAddress.optional() }).default({}),
});

/**
 * A new MAC address on an interface of the node: the pod is a host of that network beside the node.
 *
 * Equal to the containernetworking plugin, but that nothing is left behind when an ADD fails, that DEL lets an address go
 * only once no interface has it, and that GC and STATUS reach the IPAM plugin.
 */
export const macvlan: Plugin = {
  type: 'macvlan',
  versions: cniVersions,

  validate: parse,

  async add(call) {
    const { ifName, netns } = call.attachment;
    const { master, mode, mtu, mac, linkInContainer, bcqueuelen, dns } = parse(call);
    using container = Container.open(call.attachment);
    using home = openHome(container, linkInContainer);
    const parent = await findMaster(home.netlink, master, home.place);
    checkMtu(mtu, parent);

    await using undo = new AsyncDisposableStack();
    const kind = { type: 'macvlan', mode, bcQueueLength: bcqueuelen } as const;
    const newLink = { name: ifName, parent: parent.index, mtu: mtu || undefined, mac, kind };
    const [link, ipam] = await createWithAddresses(undo, home, container, newLink, call, () => addIpam(call));
    const result = resultOf(ifName, link, netns, ipam, dns);
    if (ipam !== undefined) announceAddresses(container, ifName);
    await configureInterface(container, link, result);
    undo.move();
    return result;
  },

  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    await release(container, call);
  },

  async check(call) {
    const { master, mode, linkInContainer } = parse(call);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    using home = openHome(container, linkInContainer);
    await findMaster(home.netlink, master, home.place);
    const { name, data } = await checkInterface(container, call);
    if (data?.type !== 'macvlan') throw mismatch(`Container interface ${name} not of type macvlan`);
    if (data.mode !== mode) {
      throw mismatch(`Container macvlan mode ${data.mode} does not match expected value: ${mode}`);
    }
  },

  status: statusIpam,
  gc: gcIpam,
};

const keysOf = oncePerConfig((config) => parsePluginConfig(schema, config));

/** The MAC address is the runtime's, or that of CNI_ARGS, or the configuration's. */
function parse({ config, attachment }: ConfigCall) {
  requireKnownArgs(attachment.args, ['MAC']);
  const { runtimeConfig, mac, ...parsed } = keysOf(config);
  return { ...parsed, mac: runtimeConfig.mac ?? macArgument(attachment.args) ?? mac };
}

const mismatch = (message: string): CniError => new CniError(ErrorCode.Internal, message);
