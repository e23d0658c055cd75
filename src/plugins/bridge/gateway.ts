import { CniError, ErrorCode } from '../../cni/error.ts';
import type { Result, ResultIP, ResultRoute } from '../../cni/result.ts';
import { addresses, type InterfaceAddress } from '../../linux/address.ts';
import { type Link, links } from '../../linux/link.ts';
import { mainTable, Scope } from '../../linux/route.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import {
  contains,
  equalIP,
  formatIP,
  formatPrefix,
  fromBigInt,
  networkOf,
  type Prefix,
  parseIP,
  parsePrefix,
  toBigInt,
} from '../../net/ip.ts';
import type { Share } from './share.ts';

export interface GatewaySettings {
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
}

/** What IPAM gave, with the gateways and the default routes that the network is to have. */
export function withGateways(
  ipam: Pick<Result, 'ips' | 'routes'>,
  { isGateway, isDefaultGateway }: GatewaySettings,
): Pick<Result, 'ips' | 'routes'> {
  const ips = ipam.ips.map((ip) => (isGateway ? { ...ip, gateway: ip.gateway ?? firstHostOf(ip.address) } : ip));
  const routes = [...ipam.routes];
  if (isDefaultGateway) {
    for (const { address, gateway } of ips) {
      const { family } = parsePrefix(address).ip;
      if (!routes.some((route) => isDefaultRoute(route, family))) {
        routes.push({ dst: family === 4 ? '0.0.0.0/0' : '::/0', gw: gateway });
      }
    }
  }
  return { ips, routes };
}

function firstHostOf(address: string): string {
  const network = networkOf(parsePrefix(address));
  return formatIP(fromBigInt(network.family, toBigInt(network) + 1n));
}

/** One without a gateway goes through the network's, unless it is in a table that nobody looks at by himself. */
function isDefaultRoute({ dst, gw, table = mainTable }: ResultRoute, family: 4 | 6): boolean {
  const { ip, length } = parsePrefix(dst);
  return length === 0 && ip.family === family && (gw !== undefined || table === mainTable);
}

/** The addresses that a bridge has as its containers' gateway: each with the length of the container's prefix. */
export function gatewayAddresses(ips: readonly ResultIP[]): readonly Prefix[] {
  return ips.flatMap(({ address, gateway }) => {
    return gateway === undefined ? [] : [{ ip: parseIP(gateway), length: parsePrefix(address).length }];
  });
}

/** An address of a gateway, and the calls that need it. */
export interface Gateway {
  readonly address: Prefix;
  readonly share: Share;
}

/**
 * Gives an interface of the node the addresses of gateways.
 *
 * @param force Whether other addresses make room: all of IPv4, and those of IPv6 in the same subnets.
 * @throws {CniError} when it has others, which do not.
 */
export async function ensureAddresses(
  node: Rtnetlink,
  { index, name }: Pick<Link, 'index' | 'name'>,
  wanted: readonly Gateway[],
  force: boolean,
): Promise<void> {
  const [present] = await node.run(addresses.list({ index }));
  const missing = wanted.filter(({ address }) => !present.some((each) => isSame(each.address, address)));
  const others = present.filter((each) => !wanted.some(({ address }) => isSame(each.address, address)));
  for (const { address, share } of missing) {
    const conflicts = others.filter((other) => isInTheWay(other, address));
    if (conflicts.length > 0 && !force) throw conflictOf(name, address, conflicts);
    // The first address of a subnet takes the others with it, which could not be given back: so it goes last.
    for (const { address: old, scope } of conflicts.toReversed()) {
      const [removed] = await node.settle(addresses.delete({ index, address: old }));
      if (removed?.ok === false && removed.error.code !== 'EADDRNOTAVAIL') throw failureOf(name, removed.error);
      if (removed?.ok) share.defer((again) => restore(again, { index, address: old, scope }));
    }
    // Without a look for duplicates: the first containers would have no gateway for a second or two.
    const [added] = await node.settle(addresses.add({ index, address, noDad: address.ip.family === 6 }));
    if (added?.ok === false && added.error.code !== 'EEXIST') throw failureOf(name, added.error);
    if (added?.ok) share.defer((again) => remove(again, { index, address }));
  }
  if (missing.length > 0) await pinMac(node, index);
}

const isSame = (a: Prefix, b: Prefix): boolean => a.length === b.length && equalIP(a.ip, b.ip);

/** The kernel's own address on every link of IPv6 is in nobody's way. */
function isInTheWay({ address, scope }: InterfaceAddress, { ip, length }: Prefix): boolean {
  if (address.ip.family !== ip.family) return false;
  if (ip.family === 4) return true;
  return scope !== Scope.link && (contains(address, ip) || contains({ ip, length }, address.ip));
}

function conflictOf(name: string, address: Prefix, conflicts: readonly InterfaceAddress[]): CniError {
  const found = conflicts.map((each) => formatPrefix(each.address)).join(', ');
  return new CniError(
    ErrorCode.Internal,
    `"${name}" already has an IP address different from ${formatPrefix(address)}`,
    `it has ${found}: another network uses it, or forceAddress must be true`,
  );
}

const failureOf = (name: string, error: Error): CniError =>
  new CniError(ErrorCode.Internal, `interface "${name}": ${error.message}`, '', { cause: error });

/** A bridge takes the lowest address of its ports as its own until it is given one: neighbours must find it again. */
async function pinMac(node: Rtnetlink, index: number): Promise<void> {
  const [{ mac }] = await node.run(links.get({ index }));
  await node.run(links.change(index, { mac }));
}

type Address = Pick<InterfaceAddress, 'index' | 'address'>;

async function remove(node: Rtnetlink, address: Address): Promise<void> {
  const [outcome] = await node.settle(addresses.delete(address));
  if (outcome?.ok === false && !['EADDRNOTAVAIL', 'ENODEV'].includes(outcome.error.code)) throw outcome.error;
}

async function restore(node: Rtnetlink, address: Address & Pick<InterfaceAddress, 'scope'>): Promise<void> {
  const [outcome] = await node.settle(addresses.add(address));
  if (outcome?.ok === false && !['EEXIST', 'ENODEV'].includes(outcome.error.code)) throw outcome.error;
}
