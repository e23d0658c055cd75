import { CniError, ErrorCode } from '../../cni/error.ts';
import type { KernelError } from '../../linux/errors.ts';
import { type ForwardingEntry, forwardingEntries, toEverybody } from '../../linux/forwarding-entry.ts';
import { type Link, links } from '../../linux/link.ts';
import type { LinkKind } from '../../linux/link-kind.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { equalIP, formatIP, type IP, parseIP } from '../../net/ip.ts';
import { findBridge, type NodeBridge } from '../bridge/node-bridge.ts';
import { creationFailure } from '../create-link.ts';
import type { VxlanConfig } from './config.ts';
import type { Underlay } from './underlay.ts';

/*
 * A network's tunnel on this node: a VXLAN device, and a bridge that connects pods to it. Their names tell whose they are,
 * also after a crash, and make the VNI what is shared: two networks of one VNI are the same network to all other nodes.
 */

export const bridgeName = (vni: number): string => `plxbr${vni}`;
const deviceName = (vni: number): string => `plxvx${vni}`;

/** The VNI of a bridge by its name; undefined for any other interface. */
export function vniOf(bridge: string): number | undefined {
  const [, digits] = /^plxbr(0|[1-9]\d{0,7})$/.exec(bridge) ?? [];
  return digits === undefined ? undefined : Number(digits);
}

type Vxlan = Extract<LinkKind, { type: 'vxlan' }>;

/**
 * Finds the device of a network, or makes it, as a port of the network's bridge. To be called in turn.
 *
 * @throws {CniError} when one that pods use is of other settings, or the kernel refuses.
 */
export async function ensureDevice(
  node: Rtnetlink,
  bridge: NodeBridge,
  config: VxlanConfig,
  underlay: Underlay,
): Promise<Link> {
  const kind = kindOf(config, underlay);
  const present = await findDevice(node, config.vni);
  if (present === undefined) return createDevice(node, bridge, config, kind, underlay);
  const differences = differencesOf(present, kind);
  if (differences.length === 0) {
    await raiseMtu(node, [present, bridge], underlay.mtu);
    const isConnected = present.master === bridge.index && present.flags.up;
    if (!isConnected) await node.run(links.change(present.index, { master: bridge.index, up: true }));
    return present;
  }
  const [all] = await node.run(links.list());
  if (hasPods(all, bridge)) throw conflictOf(config, present, differences);
  await node.run(links.delete({ index: present.index }));
  return createDevice(node, bridge, config, kind, underlay);
}

async function createDevice(
  node: Rtnetlink,
  bridge: NodeBridge,
  { vni }: VxlanConfig,
  kind: Vxlan,
  { mtu }: Underlay,
): Promise<Link> {
  const name = deviceName(vni);
  const [made] = await node.settle(links.create({ name, kind, mtu, master: bridge.index, up: true }));
  if (made?.ok === false) throw refusalOf(kind, name, made.error);
  const found = await findDevice(node, vni);
  if (found !== undefined) return found;
  throw new CniError(ErrorCode.Internal, `VXLAN device "${name}" was removed while it was being made`);
}

function refusalOf(kind: Vxlan, name: string, error: KernelError): unknown {
  if (!['EEXIST', 'EADDRINUSE'].includes(error.code)) return creationFailure({ kind, name }, error);
  return new CniError(
    ErrorCode.Internal,
    `failed to create vxlan "${name}": ${error.message}`,
    `another program of this node has a VXLAN device with VNI ${kind.id}, or UDP port ${kind.port} for another use`,
    { cause: error },
  );
}

/**
 * To be called once a pod has joined the bridge, after which nobody changes the device's settings any more.
 *
 * @throws {CniError} 11 when somebody has changed them since the device was found.
 */
export async function requireUnchanged(node: Rtnetlink, { network, vni }: VxlanConfig, { index }: Link): Promise<void> {
  if ((await findDevice(node, vni))?.index === index) return;
  throw new CniError(
    ErrorCode.TryAgainLater,
    `network "${network}": another network has taken VNI ${vni} meanwhile, with other settings`,
    'networks of one VNI are one network, and must have the same settings',
  );
}

/** Without a group, IPv6 is told by an address that is nobody's (vxlan_config_validate of vxlan_core.c). */
function kindOf({ vni, group, dstport, ttl, learning, family }: VxlanConfig, { master, local }: Underlay): Vxlan {
  const nobody = family === 6 && local === undefined ? parseIP('::') : undefined;
  return { type: 'vxlan', id: vni, link: master.index, group: group ?? nobody, local, port: dstport, ttl, learning };
}

/** @throws {CniError} when the name is that of another kind of interface. */
export async function findDevice(node: Rtnetlink, vni: number): Promise<Link | undefined> {
  const name = deviceName(vni);
  const [found] = await node.settle(links.get({ name }));
  if (found?.ok === false && found.error.code === 'ENODEV') return undefined;
  if (found?.ok !== true) throw found?.error ?? new Error(`no answer about interface ${name}`);
  if (found.value.kind === 'vxlan') return found.value;
  throw new CniError(ErrorCode.InvalidNetworkConfig, `"${name}" already exists but is not a VXLAN device`);
}

/** What a device has, and what a configuration wants, where they differ. */
export function differencesOf({ data }: Link, wanted: Vxlan): readonly string[] {
  if (data?.type !== 'vxlan') return ['another kind'];
  const settings: readonly (readonly [name: string, has: string, wants: string])[] = [
    ['vni', `${data.id}`, `${wanted.id}`],
    ['master', `interface number ${data.link}`, `interface number ${wanted.link}`],
    ['group', show(data.group), show(wanted.group)],
    ['local', show(data.local), show(wanted.local)],
    ['dstport', `${data.port}`, `${wanted.port}`],
    ['ttl', `${data.ttl ?? 0}`, `${wanted.ttl ?? 0}`],
    ['learning', `${data.learning}`, `${wanted.learning}`],
  ];
  return settings.flatMap(([name, has, wants]) => (has === wants ? [] : `${name} ${has} instead of ${wants}`));
}

/** @throws {CniError} with what is missing of a network's tunnel. */
export async function checkDevice(node: Rtnetlink, config: VxlanConfig, underlay: Underlay): Promise<NodeBridge> {
  const bridge = await findBridge(node, bridgeName(config.vni));
  if (bridge === undefined) throw failure(`bridge ${bridgeName(config.vni)} not found`);
  const device = await findDevice(node, config.vni);
  if (device === undefined) throw failure(`VXLAN device ${deviceName(config.vni)} not found`);
  const [difference] = differencesOf(device, kindOf(config, underlay));
  if (difference !== undefined) throw failure(`VXLAN device ${device.name} has ${difference}`);
  if (device.master !== bridge.index || !device.flags.up) {
    throw failure(`VXLAN device ${device.name} is down, or no port of bridge ${bridge.name}`);
  }
  const { missing } = await compareRemotes(node, device, underlay.remotes);
  if (missing[0] !== undefined)
    throw failure(`VXLAN device ${device.name} has no entry for ${show(missing[0].remote)}`);
  return bridge;
}

/**
 * Has a device send what is for everybody to the other nodes, and to no others: the last configuration counts, since nodes
 * come and go while pods stay.
 */
export async function ensureRemotes(node: Rtnetlink, device: Link, remotes: Underlay['remotes']): Promise<void> {
  const { missing, superfluous } = await compareRemotes(node, device, remotes);
  await node.run(...missing.map(forwardingEntries.append), ...superfluous.map(forwardingEntries.delete));
}

/** Where no remotes are told, the entries are the kernel's or another program's. */
async function compareRemotes(node: Rtnetlink, { index }: Link, remotes: Underlay['remotes']) {
  if (remotes === undefined) return { missing: [], superfluous: [] };
  const [entries] = await node.run(forwardingEntries.list(index));
  const present = entries.filter(({ mac }) => mac === toEverybody);
  const wanted = remotes.map((remote): ForwardingEntry => ({ index, mac: toEverybody, remote }));
  const lacks = (some: readonly ForwardingEntry[], { remote }: ForwardingEntry): boolean =>
    !some.some((each) => equalIP(each.remote, remote));
  return {
    missing: wanted.filter((each) => lacks(present, each)),
    superfluous: present.filter((each) => lacks(wanted, each)),
  };
}

/** Removes the tunnel of a VNI where no pod uses it. To be called while nobody joins it. */
export async function removeUnused(node: Rtnetlink, vni: number): Promise<void> {
  const [all] = await node.run(links.list());
  const bridge = all.find(({ name, kind }) => name === bridgeName(vni) && kind === 'bridge');
  const device = all.find(({ name, kind }) => name === deviceName(vni) && kind === 'vxlan');
  if (bridge !== undefined && hasPods(all, bridge)) return;
  for (const link of [device, bridge]) {
    if (link === undefined) continue;
    const [outcome] = await node.settle(links.delete({ index: link.index }));
    if (outcome?.ok === false && outcome.error.code !== 'ENODEV') throw outcome.error;
  }
}

/** The VNIs that this node has bridges of. */
export async function vnisOf(node: Rtnetlink): Promise<readonly number[]> {
  const [all] = await node.run(links.list());
  return all.flatMap(({ name, kind }) => (kind === 'bridge' ? (vniOf(name) ?? []) : []));
}

const hasPods = (all: readonly Link[], { index }: Link): boolean =>
  all.some(({ master, kind }) => master === index && kind !== 'vxlan');

/** The narrowest of what is on a bridge is what it takes; a network of larger packets needs all of it to be as large. */
async function raiseMtu(node: Rtnetlink, narrow: readonly Link[], mtu: number): Promise<void> {
  for (const link of narrow) if (link.mtu < mtu) await node.run(links.change(link.index, { mtu }));
}

function conflictOf({ network }: VxlanConfig, { name }: Link, differences: readonly string[]): CniError {
  return new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network "${network}": VXLAN device ${name} has ${differences.join(', ')}`,
    'pods use it: they must go first, or the network must have another VNI',
  );
}

const show = (ip: IP | undefined): string =>
  ip === undefined || ip.bytes.every((byte) => byte === 0) ? 'none' : formatIP(ip);

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
