import type { Plugin } from '../cni/plugin.ts';
import { emptyResult, type Result } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { type Link, links } from '../linux/link.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { storeSysctl } from '../linux/sysctl.ts';
import { parsePrefix } from '../net/ip.ts';
import { checkBridge } from './bridge/check.ts';
import { type BridgeConfig, deleteSchema, parseBridge } from './bridge/config.ts';
import { withGateways } from './bridge/gateway.ts';
import { ensureBridge, type NodeBridge } from './bridge/node-bridge.ts';
import { ensureGateway } from './bridge/node-gateway.ts';
import { notConnected, portRequests, waitForPort } from './bridge/port.ts';
import { Shares } from './bridge/share.ts';
import { addSpoofCheck, gcSpoofChecks, removeSpoofCheck } from './bridge/spoof-check.ts';
import { Container, configureInterface } from './container-interface.ts';
import { makeWithAddresses } from './create-link.ts';
import { enableForwarding } from './forwarding.ts';
import { addIpam, checkIpam, dnsOf, gcIpam, removeThenDeleteIpam, statusIpam } from './ipam.ts';
import { addMasquerade, gcMasquerade, removeMasquerade } from './masquerade.ts';
import { createVeth, removeNodeEnds, type VethPair } from './veth.ts';

/**
 * A cable to a bridge of the node, which is made where it is missing: the containers on it are neighbours of each other
 * and, where the bridge is a gateway, of the node.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists.
 */
export const bridge: Plugin = {
  type: 'bridge',
  versions: cniVersions,

  validate: parseBridge,

  async add(call) {
    const config = parseBridge(call);
    const { attachment } = call;
    using container = Container.open(attachment);
    using node = Rtnetlink.open();
    await using shares = new Shares();
    const ofBridge = shares.hold(`bridge ${config.bridge}`);
    const finding = ofBridge.inTurn(() => ensureBridge(node, ofBridge, config));

    await using undo = new AsyncDisposableStack();
    const making = connect(container, node, finding, attachment.ifName, config);
    const reserve = async () => [await finding, await addIpam(call)] as const;
    const [{ inContainer, onNode }, [nodeBridge, ipam]] = await makeWithAddresses(
      undo,
      container,
      call,
      making,
      reserve,
    );
    if (config.macspoofchk) {
      await addSpoofCheck(call, onNode, inContainer.mac);
      undo.defer(() => removeSpoofCheck(call));
    }
    const { ips, routes } = withGateways(ipam ?? emptyResult, config);
    const [gateway] = await allDone(
      config.isGateway ? ensureGateway(node, nodeBridge, ips, config, shares, ofBridge) : undefined,
      config.disableContainerInterface
        ? undefined
        : configureContainer(container, inContainer, { ips, routes }, config),
    );
    if (config.isGateway) await enableForwarding(ips);
    if (config.ipMasq && ips.length > 0) {
      const prefixes = ips.map(({ address }) => parsePrefix(address));
      await addMasquerade(call, config.ipMasqBackend, prefixes);
      undo.defer(() => removeMasquerade(call, container));
    }
    // A bridge that nobody gave an address of its own has that of a port.
    const { mac } = config.disableContainerInterface
      ? await linkOf(node, nodeBridge)
      : await waitForPort(node, onNode, nodeBridge);
    undo.move();
    shares.keep();
    return {
      interfaces: [
        { name: nodeBridge.name, mac },
        { name: onNode.name, mac: onNode.mac },
        { name: inContainer.name, mac: inContainer.mac, sandbox: attachment.netns },
        ...(gateway === undefined ? [] : [{ name: gateway.name, mac: gateway.mac }]),
      ],
      ips: ips.map((ip) => ({ ...ip, interface: 2 })),
      routes,
      dns: dnsOf(config.dns, ipam),
    };
  },

  async delete(call) {
    const { ipMasq, macspoofchk } = parsePluginConfig(deleteSchema, call.config);
    using container = Container.openIfAny(call.attachment);
    if (container === undefined && call.prevResult !== undefined) {
      using node = Rtnetlink.open();
      await removeNodeEnds(node, call.prevResult);
    }
    if (ipMasq) await removeMasquerade(call, container);
    await removeThenDeleteIpam(call, async () => {
      await container?.removeLink(call.attachment.ifName);
      if (macspoofchk) await removeSpoofCheck(call);
    });
  },

  async check(call) {
    const config = parseBridge(call);
    await checkIpam(call);
    await checkBridge(call, config);
  },

  status: statusIpam,

  async gc(call) {
    using node = Rtnetlink.open();
    await gcSpoofChecks(node);
    await gcMasquerade(call);
    await gcIpam(call);
  },
};

/** Makes the cable, while the bridge is looked for. When it throws, nothing of it is left. */
async function connect(
  container: Container,
  node: Rtnetlink,
  finding: Promise<NodeBridge>,
  name: string,
  config: BridgeConfig,
): Promise<VethPair> {
  const prepare = async (index: number) => portRequests(await finding, index, config);
  try {
    return await createVeth(container, node, { name, mtu: config.mtu, mac: config.mac, prepare });
  } catch (error) {
    return notConnected(await finding, error);
  }
}

/** Waits for both, also where one fails: what is undone must not be under way still. */
async function allDone<A, B>(...both: [A, B]): Promise<[Awaited<A>, Awaited<B>]> {
  await Promise.allSettled(both);
  return Promise.all(both);
}

async function linkOf(node: Rtnetlink, { index }: Pick<Link, 'index'>): Promise<Link> {
  const [link] = await node.run(links.get({ index }));
  return link;
}

/** The last that is done before the container can send something. */
async function configureContainer(
  container: Container,
  link: Link,
  result: Pick<Result, 'ips' | 'routes'>,
  { enabledad }: Pick<BridgeConfig, 'enabledad'>,
): Promise<void> {
  if (result.ips.length > 0) {
    const conf = ['conf', link.name] as const;
    if (enabledad) storeSysctl(container.namespace, 1, 'ipv6', ...conf, 'enhanced_dad');
    storeSysctl(container.namespace, enabledad ? 1 : 0, 'ipv6', ...conf, 'accept_dad');
    storeSysctl(container.namespace, 1, 'ipv4', ...conf, 'arp_notify');
  }
  await configureInterface(container, link, result);
}
