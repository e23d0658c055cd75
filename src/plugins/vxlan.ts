import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import { emptyResult } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { links } from '../linux/link.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { ensureBridge, type NodeBridge } from './bridge/node-bridge.ts';
import { joinBridge, waitForPort } from './bridge/port.ts';
import { type Share, Shares } from './bridge/share.ts';
import { announceAddresses, Container, checkInterface, configureInterface } from './container-interface.ts';
import { makeWithAddresses } from './create-link.ts';
import { addIpam, checkIpam, gcIpam, removeThenDeleteIpam, statusIpam } from './ipam.ts';
import { createVeth, type VethPair } from './veth.ts';
import { deleteSchema, parseVxlan, type VxlanConfig } from './vxlan/config.ts';
import {
  bridgeName,
  checkDevice,
  ensureDevice,
  ensureRemotes,
  removeUnused,
  requireUnchanged,
  vniOf,
  vnisOf,
} from './vxlan/device.ts';
import { markPort, removePort } from './vxlan/port.ts';
import { findUnderlay } from './vxlan/underlay.ts';

/** A cable of a pod is a port like any other of its bridge. */
const plainPort = { vlan: 0, trunk: undefined, preserveDefaultVlan: false, hairpinMode: false, portIsolation: false };

/**
 * A network of pods on many nodes: their frames travel between the nodes in UDP (RFC 7348). Each node has one VXLAN device
 * of the network and a bridge that connects it to its pods, made with the first of them and removed with the last.
 *
 * There is no such plugin among the containernetworking project's. The keys are the words of ip-link(8).
 */
export const vxlan: Plugin = {
  type: 'vxlan',
  versions: cniVersions,

  validate: parseVxlan,

  async add(call) {
    const config = parseVxlan(call);
    const { ifName, netns } = call.attachment;
    using container = Container.open(call.attachment);
    using node = Rtnetlink.open();
    await using shares = new Shares();
    const ofNetwork = hold(shares, config.vni);
    const { bridge, device, mtu } = await ofNetwork.inTurn(() => ensureTunnel(node, ofNetwork, config));

    await using undo = new AsyncDisposableStack();
    const making = connect(container, node, bridge, call, { mtu, mac: config.mac });
    const [{ inContainer, onNode }, ipam] = await makeWithAddresses(undo, container, call, making, () => addIpam(call));
    await ofNetwork.inTurn(() => requireUnchanged(node, config, device));
    const { ips, routes } = ipam ?? emptyResult;
    if (ips.length > 0) announceAddresses(container, ifName);
    await configureInterface(container, inContainer, { ips, routes });
    await waitForPort(node, onNode, bridge);
    undo.move();
    shares.keep();
    return {
      interfaces: [
        { name: bridge.name, mac: bridge.mac },
        { name: onNode.name, mac: onNode.mac },
        { name: ifName, mac: inContainer.mac, sandbox: netns },
        { name: device.name, mac: device.mac },
      ],
      ips: ips.map((ip) => ({ ...ip, interface: 2 })),
      routes,
      dns: config.dns,
    };
  },

  async delete(call) {
    const vni = vniAtDelete(call);
    using container = Container.openIfAny(call.attachment);
    using node = Rtnetlink.open();
    await using shares = new Shares();
    if (vni !== undefined) hold(shares, vni);
    await removeThenDeleteIpam(call, async () => {
      await container?.removeLink(call.attachment.ifName);
      await removePort(node, call.attachment);
    });
  },

  async check(call) {
    const config = parseVxlan(call);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    using node = Rtnetlink.open();
    const { name, kind, index, parent = 0 } = await checkInterface(container, call);
    if (kind !== 'veth') throw failure(`Container interface ${name} not of type veth`);
    const bridge = await checkDevice(node, config, await findUnderlay(node, config));
    const [port] = await node.settle(links.get({ index: parent }));
    if (port?.ok !== true || port.value.parent !== index || port.value.master !== bridge.index) {
      throw failure(`the other end of ${name} is no port of bridge ${bridge.name}`);
    }
  },

  status: statusIpam,

  async gc(call) {
    using node = Rtnetlink.open();
    await using shares = new Shares();
    for (const vni of await vnisOf(node)) hold(shares, vni);
    await gcIpam(call);
  },
};

/** Takes part in a network's tunnel on this node. The last call that does removes it where no pod is left. */
function hold(shares: Shares, vni: number): Share {
  const share = shares.hold(`vxlan ${vni}`);
  share.atEnd((node) => removeUnused(node, vni));
  return share;
}

/** The bridge, the device on it, and where the device sends to. */
async function ensureTunnel(node: Rtnetlink, share: Share, config: VxlanConfig) {
  const underlay = await findUnderlay(node, config);
  const { mtu, remotes } = underlay;
  const settings = { bridge: bridgeName(config.vni), mtu, promiscMode: false, filtersVlans: false };
  const bridge = await ensureBridge(node, share, settings);
  const device = await ensureDevice(node, bridge, config, underlay);
  await ensureRemotes(node, device, remotes);
  return { bridge, device, mtu };
}

/** Makes the cable. When it throws, nothing of it is left. */
async function connect(
  container: Container,
  node: Rtnetlink,
  bridge: NodeBridge,
  { attachment }: PluginCall,
  settings: { readonly mtu: number; readonly mac: string | undefined },
): Promise<VethPair> {
  const pair = await createVeth(container, node, { name: attachment.ifName, ...settings });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => container.removeLink(attachment.ifName));
  await markPort(node, pair.onNode, attachment);
  await joinBridge(node, bridge, pair.onNode, plainPort);
  undo.move();
  return pair;
}

/** Of the configuration or, where that is broken, of the result. */
function vniAtDelete({ config, prevResult }: PluginCall): number | undefined {
  const { vni } = parsePluginConfig(deleteSchema, config);
  return vni ?? prevResult?.interfaces.map(({ name }) => vniOf(name)).find((found) => found !== undefined);
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
