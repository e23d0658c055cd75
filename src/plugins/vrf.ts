import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import { parsePluginConfig } from '../cni/schema.ts';
import { interfaceNameProblem } from '../cni/validate.ts';
import { cniVersions, compareVersions } from '../cni/version.ts';
import { addresses, type InterfaceAddress } from '../linux/address.ts';
import { isKernelError } from '../linux/errors.ts';
import { type Link, links } from '../linux/link.ts';
import { isKernelRoute, mainTable, type Route, routes, Scope } from '../linux/route.ts';
import { equalIP } from '../net/ip.ts';
import { Container, configure } from './container-interface.ts';
import { creationFailure } from './create-link.ts';

const expected = 'expected the name of a VRF, which is an interface: 1 to 15 characters without / and :';

const vrfname = z.string(expected).refine((name) => interfaceNameProblem(name) === undefined, expected);

const schema = z.object({
  vrfname,
  /** The table of routes of a VRF that is made; one that is there must have it. 0: the first that no VRF has. */
  table: z.int().min(0).max(0xffffffff).default(0),
});

/** All that DEL needs. */
const deleteSchema = z.object({ vrfname: vrfname.optional().catch(undefined) });

/**
 * Puts the interface that the plugins before made into a VRF of the container: a table of routes of its own, apart from
 * the container's others. The VRF is made with its first interface and goes with its last.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists.
 */
export const vrf: Plugin = {
  type: 'vrf',
  versions: cniVersions.filter((version) => compareVersions(version, '0.3.1') >= 0),

  validate({ config }) {
    parsePluginConfig(schema, config);
  },

  async add(call) {
    const { ifName } = call.attachment;
    const { vrfname, table } = parsePluginConfig(schema, call.config);
    const prevResult = requirePrevResult(call);
    using container = Container.open(call.attachment);
    const link = await container.link(ifName);

    await using undo = new AsyncDisposableStack();
    const found = await findVrf(container, vrfname);
    if (found !== undefined) requireTable(found, table);
    const vrf = found ?? (await createVrf(container, vrfname, table));
    undo.defer(() => removeIfEmpty(container, vrf));
    await join(container, link, vrf, undo);
    undo.move();
    return prevResult;
  },

  async delete(call) {
    const { vrfname } = parsePluginConfig(deleteSchema, call.config);
    using container = Container.openIfAny(call.attachment);
    if (container === undefined || vrfname === undefined) return;
    const [found] = await container.netlink.settle(links.get({ name: vrfname }));
    if (found?.ok !== true || found.value.data?.type !== 'vrf') return;
    const vrf = found.value;
    const [link] = await container.netlink.settle(links.get({ name: call.attachment.ifName }));
    if (link?.ok === true && link.value.master === vrf.index) {
      await container.netlink.run(links.change(link.value.index, { master: 0 }));
    }
    await removeIfEmpty(container, vrf);
  },

  async check(call) {
    const { ifName } = call.attachment;
    const { vrfname } = parsePluginConfig(schema, call.config);
    requirePrevResult(call);
    using container = Container.open(call.attachment);
    const vrf = await findVrf(container, vrfname);
    if (vrf === undefined) throw failure(`VRF ${vrfname} not found in ${container.namespace.path}`);
    const { master } = await container.link(ifName);
    if (master !== vrf.index) throw failure(`Failed to find ${ifName} associated to vrf ${vrfname}`);
  },
};

interface Vrf {
  readonly index: number;
  readonly name: string;
  readonly table: number;
}

function requirePrevResult({ prevResult }: PluginCall) {
  if (prevResult !== undefined) return prevResult;
  throw new CniError(ErrorCode.InvalidNetworkConfig, 'missing prevResult from earlier plugin');
}

/** @throws {CniError} when the interface of that name is none. */
async function findVrf({ netlink }: Container, name: string): Promise<Vrf | undefined> {
  const [found] = await netlink.settle(links.get({ name }));
  if (found?.ok === false && isKernelError(found.error, 'ENODEV')) return undefined;
  if (found?.ok === false) throw found.error;
  if (found?.value.data?.type !== 'vrf') throw failure(`Netlink ${name} is not a VRF`);
  return { index: found.value.index, name, table: found.value.data.table };
}

function requireTable(vrf: Vrf, table: number): void {
  if (table === 0 || table === vrf.table) return;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `VRF ${vrf.name} already exist with different routing table ${vrf.table}`,
    `another network of this pod has made it; this one wants table ${table}`,
  );
}

async function createVrf(container: Container, name: string, wanted: number): Promise<Vrf> {
  const [present] = await container.netlink.run(links.list());
  const table = wanted || freeTable(present);
  const link = { name, kind: { type: 'vrf', table } } as const;
  try {
    await container.netlink.run(links.create({ ...link, up: true }));
  } catch (error) {
    throw creationFailure(link, error);
  }
  const { index } = await container.link(name);
  return { index, name, table };
}

function freeTable(present: readonly Link[]): number {
  const taken = new Set(present.map(({ data }) => (data?.type === 'vrf' ? data.table : 0)));
  for (let table = 1; ; table++) if (!taken.has(table)) return table;
}

/** The kernel takes IPv6 addresses and the routes by gateways away with it (vrf_cycle_netdev): they are given again. */
async function join(
  container: Container,
  { index, name, master }: Link,
  vrf: Vrf,
  undo: AsyncDisposableStack,
): Promise<void> {
  const { netlink } = container;
  if (master !== undefined)
    throw failure(`interface ${name} has already a master set: ${await nameOf(container, master)}`);
  const [had, ways] = await netlink.run(addresses.list({ index, family: 6 }), routes.list({ index, table: mainTable }));
  const beyond = ways.filter((route) => route.scope === Scope.universe && !isKernelRoute(route));
  undo.defer(async () => {
    await netlink.run(links.change(index, { master: 0 }));
    await giveAgain(container, name, index, had, beyond);
  });
  await configure(container, name, [links.change(index, { master: vrf.index })]);
  await giveAgain(
    container,
    name,
    index,
    had,
    beyond.map((route) => ({ ...route, table: vrf.table })),
  );
}

async function giveAgain(
  container: Container,
  name: string,
  index: number,
  had: readonly InterfaceAddress[],
  ways: readonly Route[],
): Promise<void> {
  const [has] = await container.netlink.run(addresses.list({ index, family: 6 }));
  const lost = had.filter(({ address }) => !has.some((each) => equalIP(each.address.ip, address.ip)));
  // Nobody else has them: they were looked for when they were given first.
  const again = lost.map(({ address, scope }) => addresses.replace({ index, address, scope, noDad: true }));
  await configure(container, name, [...again, ...ways.map(routes.replace)]);
}

async function nameOf({ netlink }: Container, index: number): Promise<string> {
  const [link] = await netlink.settle(links.get({ index }));
  return link?.ok === true ? link.value.name : `interface number ${index}`;
}

async function removeIfEmpty({ netlink }: Container, { index }: Pick<Vrf, 'index'>): Promise<void> {
  const [all] = await netlink.run(links.list());
  if (all.some(({ master }) => master === index)) return;
  const [outcome] = await netlink.settle(links.delete({ index }));
  if (outcome?.ok === false && !isKernelError(outcome.error, 'ENODEV')) throw outcome.error;
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
