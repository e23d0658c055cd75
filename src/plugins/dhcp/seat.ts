import { addresses } from '../../linux/address.ts';
import { isKernelError } from '../../linux/errors.ts';
import { type Link, links } from '../../linux/link.ts';
import { NetworkNamespace } from '../../linux/namespace.ts';
import { mainTable, type Route, routes, Scope } from '../../linux/route.ts';
import { Rtnetlink } from '../../linux/rtnetlink.ts';
import { equalIP, formatPrefix, type IP, parseIP, parsePrefix } from '../../net/ip.ts';
import type { LeaseRoute, Place } from './records.ts';

/** The interface that a lease is for, in its namespace. */
export class Seat implements Disposable {
  readonly namespace: NetworkNamespace;
  readonly link: Link;
  readonly #netlink: Rtnetlink;

  private constructor(namespace: NetworkNamespace, netlink: Rtnetlink, link: Link) {
    this.namespace = namespace;
    this.#netlink = netlink;
    this.link = link;
  }

  /** @returns undefined when the namespace or the interface is gone, or others have their names by now. */
  static async open({ netns, netnsId, index }: Place): Promise<Seat | undefined> {
    using opened = new DisposableStack();
    const namespace = openIfAny(netns);
    if (namespace === undefined) return undefined;
    opened.use(namespace);
    if (namespace.id !== netnsId) return undefined;
    const netlink = opened.use(Rtnetlink.open(namespace));
    const [found] = await netlink.settle(links.get({ index }));
    if (found?.ok !== true) return undefined;
    opened.move();
    return new Seat(namespace, netlink, found.value);
  }

  async setDown(): Promise<void> {
    await this.#netlink.run(links.change(this.link.index, { up: false }));
  }

  /** Takes an address from the interface, and with it what goes from it. None is no error. */
  async dropAddress(address: string): Promise<void> {
    const request = addresses.delete({ index: this.link.index, address: parsePrefix(address) });
    const [outcome] = await this.#netlink.settle(request);
    if (outcome?.ok === false && outcome.error.code !== 'EADDRNOTAVAIL') throw outcome.error;
  }

  /** The address that the interface has for its own link; undefined while it has none, or may not use it yet. */
  async linkLocal(): Promise<IP | undefined> {
    const [present] = await this.#netlink.run(addresses.list({ index: this.link.index, family: 6 }));
    const usable = present.find((each) => each.scope === Scope.link && !each.tentative && !each.duplicate);
    return usable?.address.ip;
  }

  /** Those of a lease's routes that the pod has: others may have been taken away, or moved to another table. */
  async present(wanted: readonly LeaseRoute[]): Promise<LeaseRoute[]> {
    if (wanted.length === 0) return [];
    const [table] = await this.#netlink.run(routes.list({ family: 4, index: this.link.index, table: mainTable }));
    return wanted.filter((route) => table.some((found) => leadsAs(found, route)));
  }

  /**
   * Puts the address and routes of a lease in the place of another's. What was taken away or moved since, as the default
   * route of a pod that has it elsewhere, is not brought back.
   *
   * @param lost The routes that went with the address, where it was dropped before.
   * @returns What changed, for people; empty where nothing did.
   * @throws {KernelError} what the kernel did not take.
   */
  async change(before: Placed, after: Placed, lost?: readonly LeaseRoute[]): Promise<readonly string[]> {
    const { index } = this.link;
    const there = lost ?? (await this.present(before.routes));
    const gone = there.filter((route) => !after.routes.some((each) => isSame(each, route)));
    const staying = there.filter((route) => !gone.includes(route));
    const isNewAddress = lost !== undefined || before.address !== after.address;
    const changes: string[] = [];
    if (isNewAddress) {
      // First: an address of the same network that is there already would go with the old one.
      if (lost === undefined) await this.dropAddress(before.address);
      await this.#netlink.run(addresses.add({ index, address: parsePrefix(after.address) }));
      changes.push(`address ${before.address} is ${after.address} now`);
    }
    for (const route of gone) {
      const [outcome] = await this.#netlink.settle(routes.delete(routeOf(route, index)));
      if (outcome?.ok === false && outcome.error.code !== 'ESRCH') throw outcome.error;
      changes.push(`route ${route.dst} via ${route.gw} is gone`);
    }
    const added = after.routes.filter(
      (route) =>
        !before.routes.some((each) => isSame(each, route)) &&
        // Where there was a way that is none of the pod's any more, another one is none either.
        (!before.routes.some(({ dst }) => dst === route.dst) || gone.some(({ dst }) => dst === route.dst)),
    );
    // With its last address, an interface loses its routes.
    for (const route of isNewAddress ? staying : []) await this.#netlink.run(routes.replace(routeOf(route, index)));
    for (const route of added) {
      await this.#netlink.run(routes.replace(routeOf(route, index)));
      changes.push(`route ${route.dst} via ${route.gw}`);
    }
    return changes;
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
    this.namespace[Symbol.dispose]();
  }
}

/** What of a lease is in the pod. */
interface Placed {
  readonly address: string;
  readonly routes: readonly LeaseRoute[];
}

const isSame = (a: LeaseRoute, b: LeaseRoute): boolean => a.dst === b.dst && a.gw === b.gw;

function leadsAs({ destination, gateway }: Route, { dst, gw }: LeaseRoute): boolean {
  const found = destination === undefined ? '0.0.0.0/0' : formatPrefix(destination);
  const wanted = gatewayOf(gw);
  if (found !== dst || (gateway === undefined) !== (wanted === undefined)) return false;
  return gateway === undefined || wanted === undefined || equalIP(gateway, wanted);
}

function routeOf({ dst, gw, scope }: LeaseRoute, index: number): Route {
  const destination = parsePrefix(dst);
  return {
    family: 4,
    ...(destination.length > 0 && { destination }),
    gateway: gatewayOf(gw),
    index,
    scope,
  };
}

/** 0.0.0.0 is no gateway: the destination is on the link. */
const gatewayOf = (gw: string): IP | undefined => (gw === '0.0.0.0' ? undefined : parseIP(gw));

function openIfAny(path: string): NetworkNamespace | undefined {
  try {
    return NetworkNamespace.open(path);
  } catch (error) {
    if (isKernelError(error)) return undefined;
    throw error;
  }
}
