import { CniError, ErrorCode } from '../../cni/error.ts';
import type { PluginCall } from '../../cni/plugin.ts';
import { bridgePorts } from '../../linux/bridge-port.ts';
import { bridgeVlans } from '../../linux/bridge-vlan.ts';
import { type Link, links } from '../../linux/link.ts';
import { Rtnetlink } from '../../linux/rtnetlink.ts';
import { Container, checkInterface } from '../container-interface.ts';
import type { BridgeConfig } from './config.ts';
import { findBridge, type NodeBridge } from './node-bridge.ts';
import { isAmong, portVlanChanges } from './vlans.ts';

/**
 * Looks whether the container's interface is as ADD left it, and leads to the bridge.
 *
 * @throws {CniError} with what is missing.
 */
export async function checkBridge(call: PluginCall, config: BridgeConfig): Promise<void> {
  const { attachment, prevResult } = call;
  using container = Container.open(attachment);
  using node = Rtnetlink.open();
  const inContainer = await checkInterface(container, call);
  if (inContainer.kind !== 'veth') throw failure(`Container interface ${inContainer.name} not of type veth`);

  if (!prevResult?.interfaces.some(({ name, sandbox }) => name === config.bridge && !sandbox)) {
    throw failure(`bridge ${config.bridge} is not in prevResult`);
  }
  const bridge = await findBridge(node, config.bridge);
  if (bridge === undefined) throw failure(`Interface name ${config.bridge} not found`);
  // One that is promiscuous although nobody asked for it may be so for another network, or is being looked at.
  if (config.promiscMode && !bridge.flags.promisc) {
    throw failure(`Bridge interface ${bridge.name} configured Promisc Mode true doesn't match current state: false`);
  }

  const [peer] = await node.settle(links.get({ index: inContainer.parent ?? 0 }));
  const port =
    peer?.ok && peer.value.kind === 'veth' && peer.value.parent === inContainer.index ? peer.value : undefined;
  const isInResult = prevResult.interfaces.some(({ name, sandbox }) => name === port?.name && !sandbox);
  if (port === undefined || !isInResult || port.master !== bridge.index) {
    throw failure(`CNI veth created for bridge ${bridge.name} was not found`);
  }
  await checkPort(node, port, bridge, config);
}

async function checkPort(node: Rtnetlink, { index, name }: Link, bridge: NodeBridge, config: BridgeConfig) {
  const [port] = await node.run(bridgePorts.get(index));
  if (port?.hairpin !== config.hairpinMode) throw failure(`hairpin mode of port ${name} is not ${config.hairpinMode}`);
  if (config.portIsolation && !port.isolated) throw failure(`port ${name} of bridge ${bridge.name} is not isolated`);
  const changes = portVlanChanges(config, bridge.data.defaultVlan ?? 0);
  if (changes === undefined) return;
  const [all] = await node.run(bridgeVlans.list());
  const present = all.find((each) => each.index === index)?.vlans ?? [];
  const missing = changes.add.find((wanted) => !isAmong(wanted, present));
  if (missing !== undefined) {
    const { first, last } = missing;
    throw failure(
      `port ${name} of bridge ${bridge.name} is not in VLAN ${first === last ? first : `${first}-${last}`}`,
    );
  }
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
