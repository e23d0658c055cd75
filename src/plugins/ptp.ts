import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { cniVersions } from '../cni/version.ts';
import { addresses } from '../linux/address.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { mainTable, routes, Scope } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { writeSysctlIfAny } from '../linux/sysctl.ts';
import {
  formatIP,
  formatPrefix,
  hostPrefix,
  type IP,
  networkOf,
  type Prefix,
  parseIP,
  parsePrefix,
} from '../net/ip.ts';
import { Container, checkInterface, configure, enableIPv6, release, routeRequests } from './container-interface.ts';
import { enableForwarding } from './forwarding.ts';
import { addRequiredIpam, checkIpam, dnsOf, gcIpam, interfacePluginKeys, requireIpam, statusIpam } from './ipam.ts';
import { addMasquerade, gcMasquerade, masqueradeKeys, removeMasquerade } from './masquerade.ts';
import { createVeth, removeNodeEnds } from './veth.ts';

const schema = z.object({
  ...interfacePluginKeys,
  /** 0: the kernel's default. */
  mtu: z.int().min(0).default(0),
  ...masqueradeKeys,
});

/** All that DEL needs: what is wrong with the rest of a configuration must not keep it from releasing anything. */
const deleteSchema = z.object({ ipMasq: z.boolean().catch(false).default(false) });

/**
 * A cable to the node, which is the router of the container. Both ends have an address of one host only, so that all
 * traffic goes by way of the node, to the container's own subnet too.
 *
 * Equal to the containernetworking plugin, but that nothing is left behind when an ADD fails, that an address may be alone
 * in its prefix and a gateway outside of it, that several addresses may share a subnet or a gateway, that an address which
 * the node reaches elsewhere already is refused, that IPv6 addresses are usable at once (nobody else is on the cable who
 * could have them), that the node's end has the kernel's own queue length, that DEL lets an address go only once no
 * interface has it, that no masquerading outlives a DEL without the namespace, nor a GC, and that GC reaches the IPAM
 * plugin.
 */
export const ptp: Plugin = {
  type: 'ptp',
  versions: cniVersions,

  validate({ config }) {
    parsePluginConfig(schema, config);
  },

  async add(call) {
    const { ifName, netns } = call.attachment;
    const { mtu, ipMasq, ipMasqBackend, dns } = parsePluginConfig(schema, call.config);
    requireIpam(call.config);
    using container = Container.open(call.attachment);
    using node = Rtnetlink.open();

    await using undo = new AsyncDisposableStack();
    const { inContainer, onNode } = await createVeth(container, node, { name: ifName, mtu });
    undo.defer(() => container.removeLink(ifName));
    const ipam = await addRequiredIpam(call);
    undo.defer(() => release(container, call));
    const ends = ipam.ips.map(({ address, gateway }) => endsOf(call.config.name, address, gateway));
    await skipDad([
      [container.namespace, ifName],
      [NetworkNamespace.host(), onNode.name],
    ]);
    await configureContainer(container, inContainer, ends, ipam);
    await configureNode(node, onNode, ends);
    if (ipMasq) {
      const own = ends.map(({ address }) => address);
      await addMasquerade(call, ipMasqBackend, own);
      undo.defer(() => removeMasquerade(call, container));
    }
    await enableForwarding(ipam.ips);
    undo.move();
    return {
      interfaces: [
        { name: onNode.name, mac: onNode.mac },
        { name: ifName, mac: inContainer.mac, sandbox: netns },
      ],
      ips: ipam.ips.map((ip) => ({ ...ip, interface: 1 })),
      routes: ipam.routes,
      dns: dnsOf(dns, ipam),
    };
  },

  async delete(call) {
    using container = Container.openIfAny(call.attachment);
    if (container === undefined && call.prevResult !== undefined) {
      using node = Rtnetlink.open();
      await removeNodeEnds(node, call.prevResult);
    }
    if (parsePluginConfig(deleteSchema, call.config).ipMasq) await removeMasquerade(call, container);
    await release(container, call);
  },

  async check(call) {
    parsePluginConfig(schema, call.config);
    await checkIpam(call);
    using container = Container.open(call.attachment);
    const { name, kind } = await checkInterface(container, call);
    if (kind !== 'veth') {
      throw new CniError(ErrorCode.Internal, `Container interface ${name} not of type veth/p2p`);
    }
  },

  status: statusIpam,

  async gc(call) {
    await gcMasquerade(call);
    await gcIpam(call);
  },
};

/** The addresses of the two ends of the cable. */
interface Ends {
  readonly address: Prefix;
  readonly gateway: IP;
}

function endsOf(network: string, address: string, gateway: string | undefined): Ends {
  if (gateway !== undefined) return { address: parsePrefix(address), gateway: parseIP(gateway) };
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network "${network}": a point-to-point link needs a gateway, which is the node's address on it; IPAM gave ${address} without one`,
  );
}

/**
 * Lets the link-local addresses of interfaces, too, be used at once: what the node forwards over IPv6 waits for its own.
 * The kernel looks at this when an interface gets a carrier.
 */
async function skipDad(interfaces: readonly (readonly [NetworkNamespace, string])[]): Promise<void> {
  await Promise.all(
    interfaces.map(([namespace, name]) => writeSysctlIfAny(namespace, 0, 'ipv6', 'conf', name, 'accept_dad')),
  );
}

/**
 * The route that the kernel makes of an address, by which its subnet would be on the cable, is replaced by one to the
 * gateway alone, and one through it to the subnet.
 */
async function configureContainer(
  container: Container,
  { name, index }: Link,
  ends: readonly Ends[],
  ipam: Result,
): Promise<void> {
  if (ends.some(({ address }) => address.ip.family === 6)) await enableIPv6(container, name);
  const gateways = distinct(ends, ({ gateway }) => formatIP(gateway));
  const subnets = distinct(ends, ({ address }) => formatPrefix(subnetOf(address)));
  await configure(container, name, [
    ...ends.map(({ address }) => addresses.add({ index, address, noDad: address.ip.family === 6 })),
    links.change(index, { up: true }),
    ...subnets.filter(hasConnectedRoute).map(({ address }) => routes.delete(routeTo(subnetOf(address), index))),
    ...gateways.map(({ address, gateway }) =>
      routes.add({ ...routeTo(hostPrefix(gateway), index), source: address.ip, scope: Scope.link }),
    ),
    ...subnets
      .filter(({ address }) => address.length < hostPrefix(address.ip).length)
      .map(({ address, gateway }) => routes.add({ ...routeTo(subnetOf(address), index), source: address.ip, gateway })),
    ...routeRequests(index, ipam),
  ]);
}

const subnetOf = (address: Prefix): Prefix => ({ ip: networkOf(address), length: address.length });

const routeTo = (destination: Prefix, index: number) => ({ family: destination.ip.family, destination, index });

/** The kernel makes none of an IPv4 address that is alone (fib_add_ifaddr). */
const hasConnectedRoute = ({ address }: Ends): boolean => address.ip.family === 6 || address.length < 32;

async function configureNode(node: Rtnetlink, { name, index }: Link, ends: readonly Ends[]): Promise<void> {
  const gateways = distinct(ends, ({ gateway }) => formatIP(gateway)).map(({ gateway }) => gateway);
  const requests = gateways.map((ip) => addresses.add({ index, address: hostPrefix(ip), noDad: ip.family === 6 }));
  await configure({ netlink: node }, name, requests);
  for (const { address } of ends) await addNodeRoute(node, hostPrefix(address.ip), index);
}

/** A route that is there leads elsewhere: what is meant for this container would go there. */
async function addNodeRoute(node: Rtnetlink, destination: Prefix, index: number): Promise<void> {
  try {
    await node.run(routes.addExclusive({ ...routeTo(destination, index), scope: Scope.host }));
  } catch (error) {
    if (!isKernelError(error)) throw error;
    throw new CniError(
      ErrorCode.Internal,
      `failed to add route on host: ${error.message}`,
      error.code === 'EEXIST' ? await describeRoute(node, destination) : '',
      { cause: error },
    );
  }
}

async function describeRoute(node: Rtnetlink, destination: Prefix): Promise<string> {
  const [table] = await node.run(routes.list({ family: destination.ip.family, table: mainTable }));
  const text = formatPrefix(destination);
  const index = table.find((route) => route.destination && formatPrefix(route.destination) === text)?.index;
  if (index === undefined) return '';
  const [link] = await node.settle(links.get({ index }));
  const name = link?.ok ? link.value.name : `number ${index}`;
  return `the node reaches ${text} through interface ${name}: another network gives the same addresses away`;
}

function distinct<T>(items: readonly T[], key: (item: T) => string): readonly T[] {
  return items.filter((item, index) => items.findIndex((other) => key(other) === key(item)) === index);
}
