import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { Container, checkInterface, configureInterface, release, resultOf } from './container-interface.ts';
import { createWithAddresses, openHome } from './create-link.ts';
import { addRequiredIpam, checkIpam, gcIpam, interfacePluginKeys, requireIpam, statusIpam } from './ipam.ts';
import { checkMtu, findMaster } from './master.ts';

const expectedId = 'expected a VLAN ID from 0 to 4094';
const expectedMaster = 'expected the name of the interface that the VLAN is on';

const schema = z.object({
  ...interfacePluginKeys,
  master: z.string(expectedMaster).min(1, expectedMaster),
  /** 0: frames have a tag with a priority, and no VLAN. */
  vlanId: z.int(expectedId).min(0, expectedId).max(4094, expectedId).default(0),
  /** 0: the master's. */
  mtu: z.int().min(0).default(0),
  /** The master is an interface of the container. */
  linkInContainer: z.boolean().default(false),
});

/**
 * A VLAN of an interface of the node, with all that is in it, given to one container.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists.
 */
export const vlan: Plugin = {
  type: 'vlan',
  versions: cniVersions,

  validate({ config }) {
    parsePluginConfig(schema, config);
  },

  async add(call) {
    const { ifName, netns } = call.attachment;
    const { master, vlanId, mtu, linkInContainer, dns } = parsePluginConfig(schema, call.config);
    requireIpam(call.config);
    using container = Container.open(call.attachment);
    using home = openHome(container, linkInContainer);
    const parent = await findMaster(home.netlink, master, home.place);
    checkMtu(mtu, parent);

    await using undo = new AsyncDisposableStack();
    const kind = { type: 'vlan', id: vlanId } as const;
    const newLink = { name: ifName, parent: parent.index, mtu: mtu || undefined, kind };
    const [link, ipam] = await createWithAddresses(undo, home, container, newLink, call, () => addRequiredIpam(call));
    const result = resultOf(ifName, link, netns, ipam, dns);
    await configureInterface(container, link, result);
    undo.move();
    return result;
  },

  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    await release(container, call);
  },

  async check(call) {
    const { master, vlanId, mtu, linkInContainer } = parsePluginConfig(schema, call.config);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    using home = openHome(container, linkInContainer);
    await findMaster(home.netlink, master, home.place);
    const { name, data, mtu: found } = await checkInterface(container, call);
    if (data?.type !== 'vlan') throw mismatch(`Container interface ${name} not of type vlan`);
    if (data.id !== vlanId) throw mismatch(`VLAN ID of ${name} is ${data.id}, the configuration's is ${vlanId}`);
    if (mtu !== 0 && mtu !== found) throw mismatch(`MTU of ${name} is ${found}, the configuration's is ${mtu}`);
  },

  status: statusIpam,
  gc: gcIpam,
};

const mismatch = (message: string): CniError => new CniError(ErrorCode.Internal, message);
