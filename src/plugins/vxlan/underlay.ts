import { CniError, ErrorCode } from '../../cni/error.ts';
import { addresses, type InterfaceAddress } from '../../linux/address.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { contains, equalIP, formatIP, formatPrefix, hostPrefix, type IP } from '../../net/ip.ts';
import { findMaster } from '../master.ts';
import type { VxlanConfig } from './config.ts';

/** What goes around a frame: outer Ethernet header, IP, UDP and VXLAN (VXLAN_HEADROOM of net/vxlan.h). */
const overhead = { 4: 50, 6: 70 } as const;

/** What a network between nodes is to this node. */
export interface Underlay {
  /** The interface that leads to it. */
  readonly master: Link;
  /** Undefined: the kernel chooses for each packet. */
  readonly local: IP | undefined;
  /** The other nodes, without this one; undefined where a group or another program tells them. */
  readonly remotes: readonly IP[] | undefined;
  /** Of the tunnel: that of the configuration or, where it says none, what fits into the master's. */
  readonly mtu: number;
}

/**
 * Finds what a configuration for all nodes means on this one.
 *
 * @throws {CniError} 7 where the node lacks the interface or the address, or packets would not fit.
 */
export async function findUnderlay(node: Rtnetlink, config: VxlanConfig): Promise<Underlay> {
  const named = config.master === '' ? undefined : await findMaster(node, config.master, 'this node');
  const [present] = await node.run(addresses.list({ family: config.family }));
  const own = config.local && ownAddress(config, present, named);
  const master = named ?? (own ? await linkOf(node, own.index) : await findMaster(node, '', 'this node'));
  const isOther = (remote: IP): boolean => !present.some(({ address }) => equalIP(address.ip, remote));
  return {
    master,
    local: own?.address.ip,
    remotes: config.remotes?.length ? config.remotes.filter(isOther) : undefined,
    mtu: mtuOf(config, master),
  };
}

function ownAddress(
  { network, local, family }: VxlanConfig,
  present: readonly InterfaceAddress[],
  master: Link | undefined,
): InterfaceAddress | undefined {
  const ofMaster = present.filter(({ index }) => index === (master?.index ?? index));
  const found = ofMaster.find(({ address }) => local !== undefined && contains(local, address.ip));
  if (found !== undefined || local === undefined) return found;
  const wanted = local.length === hostPrefix(local.ip).length ? formatIP(local.ip) : formatPrefix(local);
  const place = master === undefined ? 'this node' : `its interface ${master.name}`;
  const listed = ofMaster.map(({ address }) => formatPrefix(address)).join(', ');
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network "${network}": local: ${wanted} is no address of ${place}, which has ${listed || `none of IPv${family}`}`,
    'a prefix such as 10.0.0.0/24 finds the address that each node has in it',
  );
}

async function linkOf(node: Rtnetlink, index: number): Promise<Link> {
  const [link] = await node.run(links.get({ index }));
  return link;
}

/** @throws {CniError} 7 where a packet of the pods and what goes around it are more than the master takes. */
function mtuOf({ network, mtu, family }: VxlanConfig, { name, mtu: outer }: Link): number {
  const most = outer - overhead[family];
  if (mtu <= most) return mtu || most;
  throw new CniError(
    ErrorCode.InvalidNetworkConfig,
    `network "${network}": invalid MTU ${mtu}, must be [0, ${most}]`,
    `the master ${name} takes ${outer} bytes, of which ${overhead[family]} go around a frame`,
  );
}
