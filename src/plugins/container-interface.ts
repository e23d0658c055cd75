import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Attachment, PluginCall } from '../cni/plugin.ts';
import type { Result, ResultIP, ResultRoute } from '../cni/result.ts';
import { addresses } from '../linux/address.ts';
import { isKernelError, type KernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { mainTable, type Route, routes, Scope } from '../linux/route.ts';
import { type Request, Rtnetlink } from '../linux/rtnetlink.ts';
import { storeSysctl, writeSysctl, writeSysctlIfAny } from '../linux/sysctl.ts';
import { equalIP, formatPrefix, type IP, type Prefix, parseIP, parsePrefix } from '../net/ip.ts';
import { removeThenDeleteIpam } from './ipam.ts';

/* What all interface plugins do to the interface of a container once it exists. */

/**
 * Milliseconds between looks at an address whose duplicate address detection runs, at first and at most, and until it must
 * be done. Without detection the kernel still takes a moment.
 */
const firstSettleInterval = 2;
const longestSettleInterval = 50;
const settleTimeout = 5_000;

/** An open namespace of a container, and its routing socket. */
export class Container implements Disposable {
  readonly namespace: NetworkNamespace;
  readonly netlink: Rtnetlink;

  private constructor(namespace: NetworkNamespace) {
    this.namespace = namespace;
    this.netlink = Rtnetlink.open(namespace);
  }

  /** The node itself, for an interface that is made there as in a container. */
  static node(): Container {
    return new Container(NetworkNamespace.host());
  }

  /** @throws {CniError} 8 when the path is gone, or no network namespace. */
  static open({ netns }: Attachment): Container {
    return new Container(openNamespace(netns));
  }

  /** The same for DEL: undefined when the namespace is gone, and everything in it with it. */
  static openIfAny({ netns }: Pick<Attachment, 'netns'>): Container | undefined {
    if (netns === '') return undefined;
    try {
      return new Container(NetworkNamespace.open(netns));
    } catch (error) {
      // The file of a namespace that was unmounted is left behind empty: no namespace either.
      if (isKernelError(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) return undefined;
      throw error;
    }
  }

  /** @throws {CniError} when there is no interface of that name. */
  async link(name: string): Promise<Link> {
    try {
      const [link] = await this.netlink.run(links.get({ name }));
      return link;
    } catch (error) {
      if (!isKernelError(error, 'ENODEV')) throw error;
      throw new CniError(ErrorCode.Internal, `interface "${name}" not found in ${this.namespace.path}`);
    }
  }

  /** Removes an interface; none is no error. */
  async removeLink(name: string): Promise<void> {
    const [outcome] = await this.netlink.settle(links.delete({ name }));
    if (outcome?.ok === false && outcome.error.code !== 'ENODEV') throw outcome.error;
  }

  [Symbol.dispose](): void {
    this.netlink[Symbol.dispose]();
    this.namespace[Symbol.dispose]();
  }
}

/**
 * Removes the container's interface and lets its addresses go, in the order of {@link removeThenDeleteIpam}.
 *
 * @param container undefined when its namespace is gone, and the interface with it.
 */
export async function release(container: Container | undefined, call: PluginCall): Promise<void> {
  await removeThenDeleteIpam(call, async () => container?.removeLink(call.attachment.ifName));
}

/** @throws {CniError} 8 */
function openNamespace(netns: string): NetworkNamespace {
  try {
    return NetworkNamespace.open(netns);
  } catch (error) {
    if (!isKernelError(error)) throw error;
    throw new CniError(
      ErrorCode.InvalidNetNS,
      `failed to open netns "${netns}": ${error.message}`,
      'CNI_NETNS must be the path of a network namespace that exists',
      { cause: error },
    );
  }
}

/** A result whose addresses all belong to its first interface: what most plugins return. */
export function resultOf(
  name: string,
  link: Link,
  sandbox: string,
  ipam: Result | undefined,
  dns: Result['dns'],
): Result {
  return {
    interfaces: [{ name, mac: link.mac, sandbox }],
    ips: (ipam?.ips ?? []).map((ip) => ({ ...ip, interface: 0 })),
    routes: ipam?.routes ?? [],
    dns,
  };
}

/**
 * Announces addresses to the neighbours when the interface comes up (ip-sysctl.txt): without it they would go on sending
 * to whoever had the address before.
 */
export function announceAddresses({ namespace }: Container, name: string): void {
  storeSysctl(namespace, 1, 'ipv4', 'conf', name, 'arp_notify');
  storeSysctl(namespace, 1, 'ipv6', 'conf', name, 'ndisc_notify');
}

/**
 * Gives an interface its addresses, brings it up and adds its routes. With an IPv6 gateway, it waits until the addresses
 * may be used: the kernel takes no route through an address that may be somebody else's.
 *
 * @throws {CniError} naming the address or route that the kernel did not take.
 */
export async function configureInterface(
  container: Container,
  { name, index }: Pick<Link, 'name' | 'index'>,
  result: Pick<Result, 'ips' | 'routes'>,
): Promise<void> {
  const prefixes = result.ips.map(({ address }) => parsePrefix(address));
  if (prefixes.some(({ ip }) => ip.family === 6)) await enableIPv6(container, name);
  const requests = [...prefixes.map((address) => addresses.add({ index, address })), links.change(index, { up: true })];
  const ways = routeRequests(index, result);
  if (gatewaysOf(result.ips)[6] === undefined) {
    await configureAll(container, { name, index }, prefixes, [...requests, ...ways]);
  } else {
    await configureAll(container, { name, index }, prefixes, requests);
    await settle(container, name, index);
    await configure(container, name, ways);
  }
}

/**
 * Sends requests that are about one interface.
 *
 * @throws {CniError} naming the interface and what the kernel did not take.
 */
export async function configure(
  { netlink }: Pick<Container, 'netlink'>,
  name: string,
  requests: readonly Request<void>[],
): Promise<void> {
  const outcomes = await netlink.settle(...requests);
  const failed = outcomes.find((outcome) => !outcome.ok);
  if (failed?.ok === false) throw notTaken(name, failed.error);
}

const notTaken = (name: string, cause: KernelError): CniError =>
  new CniError(ErrorCode.Internal, `interface "${name}": ${cause.message}`, '', { cause });

/**
 * {@link configure}, where the kernel may have made an address by itself, of a router's advertisement: it is not to be made
 * again, nor for good.
 *
 * @param prefixes What the first of the requests add.
 */
async function configureAll(
  container: Container,
  { name, index }: Pick<Link, 'name' | 'index'>,
  prefixes: readonly Prefix[],
  requests: readonly Request<void>[],
): Promise<void> {
  const outcomes = await container.netlink.settle(...requests);
  for (const [place, outcome] of outcomes.entries()) {
    if (outcome.ok) continue;
    const prefix = prefixes[place];
    const isTwice = outcome.error.code === 'EEXIST' && prefix?.ip.family === 6;
    if (!isTwice || !(await isAutoconfigured(container, index, prefix))) throw notTaken(name, outcome.error);
  }
}

async function isAutoconfigured({ netlink }: Container, index: number, { ip }: Prefix): Promise<boolean> {
  const [present] = await netlink.run(addresses.list({ index, family: 6 }));
  return present.some(({ address, permanent }) => !permanent && equalIP(address.ip, ip));
}

/** Container runtimes turn IPv6 off where the cluster has none; a network that has it needs it. */
export async function enableIPv6({ namespace }: Container, name: string): Promise<void> {
  await Promise.all(['lo', name].map((each) => writeSysctl(namespace, 0, 'ipv6', 'conf', each, 'disable_ipv6'))).catch(
    (error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      throw new CniError(ErrorCode.Internal, `failed to enable IPv6 for interface "${name}": ${reason}`);
    },
  );
  await writeSysctlIfAny(namespace, 1, 'ipv6', 'conf', name, 'keep_addr_on_down');
}

async function settle({ netlink }: Container, name: string, index: number): Promise<void> {
  const deadline = performance.now() + settleTimeout;
  for (let interval = firstSettleInterval; ; interval = Math.min(2 * interval, longestSettleInterval)) {
    const [present] = await netlink.run(addresses.list({ index, family: 6 }));
    const duplicate = present.find((address) => address.duplicate);
    if (duplicate !== undefined) {
      const text = formatPrefix(duplicate.address);
      throw new CniError(ErrorCode.Internal, `address ${text} of interface "${name}" is in use on the network already`);
    }
    const tentative = present.filter((address) => address.tentative);
    if (tentative.length === 0) return;
    if (performance.now() >= deadline) {
      const texts = tentative.map(({ address }) => formatPrefix(address)).join(', ');
      throw new CniError(
        ErrorCode.Internal,
        `addresses ${texts} of interface "${name}" are still tentative after ${settleTimeout / 1000} s`,
      );
    }
    await sleep(interval);
  }
}

interface Gateways {
  readonly 4: IP | undefined;
  readonly 6: IP | undefined;
}

/** The first gateway of each family. */
function gatewaysOf(ips: readonly ResultIP[]): Gateways {
  const all = ips.flatMap(({ gateway }) => (gateway === undefined ? [] : [parseIP(gateway)]));
  return { 4: all.find(({ family }) => family === 4), 6: all.find(({ family }) => family === 6) };
}

/** What gives the interface with that index the routes of a result. */
export function routeRequests(index: number, result: Pick<Result, 'ips' | 'routes'>): readonly Request<void>[] {
  const gateways = gatewaysOf(result.ips);
  return result.routes.map((route) => routes.add(routeOf(route, index, gateways)));
}

/** A route that names no gateway goes through the first of its family, unless its destination is said to be on the link. */
function routeOf({ dst, gw, ...rest }: ResultRoute, index: number, gateways: Gateways): Route {
  const destination = parsePrefix(dst);
  const { family } = destination.ip;
  const { table, priority, scope, mtu, advmss } = rest;
  const gateway = gw === undefined ? (scope === Scope.link ? undefined : gateways[family]) : parseIP(gw);
  return {
    family,
    ...(destination.length > 0 && { destination }),
    gateway,
    index,
    table,
    priority,
    scope,
    mtu,
    advmss,
  };
}

/**
 * Looks whether the container's interface is as ADD left it: there, in the sandbox that the result names, with its MAC,
 * its addresses, and the result's routes.
 *
 * @returns The interface, for what is the plugin's own.
 * @throws {CniError} 7 without prevResult, else 999 with what is missing.
 */
export async function checkInterface(container: Container, { attachment, prevResult }: PluginCall): Promise<Link> {
  const { ifName, netns } = attachment;
  if (prevResult === undefined) throw new CniError(ErrorCode.InvalidNetworkConfig, 'Required prevResult missing');
  const place = prevResult.interfaces.findIndex(({ name, sandbox }) => name === ifName && sandbox === netns);
  const expected = prevResult.interfaces[place];
  if (expected === undefined) {
    const found = prevResult.interfaces.find(({ name }) => name === ifName)?.sandbox ?? '';
    throw failure(`Sandbox in prevResult ${found} doesn't match configured netns: ${netns}`);
  }
  const link = await container.link(ifName);
  if (expected.mac !== undefined && expected.mac.toLowerCase() !== link.mac) {
    throw failure(`Interface ${ifName} Mac ${expected.mac} doesn't match container Mac: ${link.mac}`);
  }
  const [present, table] = await container.netlink.run(addresses.list({ index: link.index }), routes.list());
  for (const { address, interface: index } of prevResult.ips) {
    if (index !== undefined && index !== place) continue;
    const { ip, length } = parsePrefix(address);
    if (!present.some((each) => each.address.length === length && equalIP(each.address.ip, ip))) {
      throw failure(`Failed to match addr ${address} on interface ${ifName}`);
    }
  }
  for (const route of prevResult.routes) {
    if (!table.some((each) => leadsTo(each, route, link))) {
      throw failure(`Expected Route ${route.dst} not found in routing table of ${netns}`);
    }
  }
  return link;
}

/** Where the result names no table, a plugin after this one may have moved the route to another: sbr and vrf do. */
function leadsTo(found: Route, { dst, table = mainTable }: ResultRoute, { index }: Pick<Link, 'index'>): boolean {
  const { ip, length } = parsePrefix(dst);
  const { family, destination } = found;
  if (family !== ip.family || (found.table !== table && (table !== mainTable || found.index !== index))) return false;
  if (length === 0) return destination === undefined;
  return destination?.length === length && equalIP(destination.ip, ip);
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
