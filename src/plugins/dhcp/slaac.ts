import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../cni/error.ts';
import type { Result } from '../../cni/result.ts';
import { addresses, type InterfaceAddress } from '../../linux/address.ts';
import type { Link } from '../../linux/link.ts';
import { routes, Scope } from '../../linux/route.ts';
import { writeSysctl } from '../../linux/sysctl.ts';
import { formatIP, formatPrefix, type IP } from '../../net/ip.ts';
import { type Container, enableIPv6 } from '../container-interface.ts';

/** Milliseconds until a router must have announced itself: hosts ask three times, four seconds apart (RFC 4861). */
const patience = 20_000;
const look = 50;

/** Accept announcements although the pod forwards packets itself (ip-sysctl.txt, accept_ra). */
const acceptAlways = 2;

/** Has an interface follow the announcements of routers: routes and, with `autoconf`, addresses of their prefixes. */
export async function acceptAdvertisements(
  container: Container,
  name: string,
  { autoconf }: { readonly autoconf: boolean },
): Promise<void> {
  await enableIPv6(container, name);
  for (const [value, key] of [[acceptAlways, 'accept_ra'] as const, [autoconf ? 1 : 0, 'autoconf'] as const]) {
    await writeSysctl(container.namespace, value, 'ipv6', 'conf', name, key);
  }
}

/** The router of the default route that an announcement made; undefined when none did within some milliseconds. */
export async function announcedRouter({ netlink }: Container, index: number, within: number): Promise<IP | undefined> {
  for (const deadline = performance.now() + within; ; await sleep(look)) {
    const [table] = await netlink.run(routes.list({ family: 6, index }));
    const gateway = table.find(({ destination }) => destination === undefined)?.gateway;
    if (gateway !== undefined || performance.now() >= deadline) return gateway;
  }
}

/**
 * Has the kernel give an interface addresses of the prefixes that a router announces (RFC 4862). It keeps them, and the
 * route through the router, from then on by itself.
 *
 * @returns The addresses that can be used, with the router.
 * @throws {CniError} 11 when no router announced a prefix in time.
 */
export async function autoconfigured(container: Container, { name, index }: Link): Promise<Result> {
  await acceptAdvertisements(container, name, { autoconf: true });
  const deadline = performance.now() + patience;
  for (;;) {
    const [present, table] = await container.netlink.run(
      addresses.list({ index, family: 6 }),
      routes.list({ family: 6, index }),
    );
    const given = present.filter(isOfRouter);
    if (given.length > 0 && given.every(({ tentative }) => !tentative)) {
      const gateway = table.find((route) => route.destination === undefined)?.gateway;
      const ips = given.map(({ address }) => ({
        address: formatPrefix(address),
        ...(gateway !== undefined && { gateway: formatIP(gateway) }),
      }));
      return { interfaces: [], ips, routes: [], dns: {} };
    }
    if (performance.now() >= deadline) {
      const duplicate = present.find((each) => each.duplicate);
      throw new CniError(
        ErrorCode.TryAgainLater,
        duplicate === undefined
          ? `no router announced a prefix for addresses to interface "${name}" within ${patience / 1000} s`
          : `address ${formatPrefix(duplicate.address)} of interface "${name}" is in use on the network already`,
        'ipam.ipv6 "slaac" needs a router that sends advertisements with a prefix for autoconfiguration',
      );
    }
    await sleep(look);
  }
}

const isOfRouter = ({ scope, permanent, duplicate }: InterfaceAddress): boolean =>
  scope === Scope.universe && !permanent && !duplicate;
