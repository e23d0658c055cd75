import type { ResultIP } from '../../cni/result.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { formatPrefix } from '../../net/ip.ts';
import { Container } from '../container-interface.ts';
import { createVeth } from '../veth.ts';
import { vlanGatewayName } from './config.ts';
import { ensureAddresses, gatewayAddresses } from './gateway.ts';
import type { NodeBridge } from './node-bridge.ts';
import { joinBridge, type PortSettings } from './port.ts';
import type { Share, Shares } from './share.ts';

export interface NodeGatewaySettings {
  /** 0: the bridge itself is the gateway. */
  readonly vlan: number;
  readonly preserveDefaultVlan: boolean;
  readonly forceAddress: boolean;
}

/**
 * Makes the node the gateway of a bridge, or of one of its VLANs.
 *
 * @param ips Of the container, with their gateways.
 * @param ofBridge The calls that use the bridge, one of which at a time sees to its gateway.
 * @returns The interface of the VLAN; undefined where the bridge itself is the gateway.
 * @throws {CniError} when an address of the interface is in the way.
 */
export function ensureGateway(
  node: Rtnetlink,
  bridge: NodeBridge,
  ips: readonly ResultIP[],
  settings: NodeGatewaySettings,
  shares: Shares,
  ofBridge: Share,
): Promise<Link | undefined> {
  const { vlan, forceAddress } = settings;
  const name = vlan === 0 ? bridge.name : vlanGatewayName(bridge.name, vlan);
  const ofInterface = shares.hold(`interface ${name}`);
  const wanted = gatewayAddresses(ips).map((address) => ({
    address,
    share: shares.hold(`${formatPrefix(address)} on ${name}`),
  }));
  return ofBridge.inTurn(async () => {
    const inVlan = vlan === 0 ? undefined : await ensureVlanInterface(node, bridge, name, settings, ofInterface);
    await ensureAddresses(node, inVlan ?? bridge, wanted, forceAddress);
    return inVlan;
  });
}

/** Finds the node's own interface in a VLAN, or makes it: one end of a veth, of which the other is a port of the bridge. */
async function ensureVlanInterface(
  node: Rtnetlink,
  bridge: NodeBridge,
  name: string,
  { vlan, preserveDefaultVlan }: NodeGatewaySettings,
  share: Share,
): Promise<Link> {
  const settings = { vlan, preserveDefaultVlan, trunk: undefined, hairpinMode: false, portIsolation: false };
  const [found] = await node.settle(links.get({ name }));
  if (found?.ok) {
    await reconnect(node, bridge, found.value, settings);
    return found.value;
  }
  using home = Container.node();
  await using undo = new AsyncDisposableStack();
  const { inContainer: inside, onNode: port } = await createVeth(home, node, { name, mtu: bridge.mtu });
  undo.defer(() => home.removeLink(name));
  await joinBridge(node, bridge, port, settings);
  await node.run(links.change(inside.index, { up: true }));
  undo.move();
  share.defer(async () => {
    using again = Container.node();
    await again.removeLink(name);
  });
  return inside;
}

/** A bridge that was removed, and is made again, has lost its ports. An interface of another kind is the administrator's. */
async function reconnect(
  node: Rtnetlink,
  bridge: NodeBridge,
  { kind, parent, parentNamespaceId }: Link,
  settings: PortSettings,
): Promise<void> {
  if (kind !== 'veth' || parent === undefined || parentNamespaceId !== undefined) return;
  const [port] = await node.run(links.get({ index: parent }));
  if (port.master === undefined) await joinBridge(node, bridge, port, settings);
}
