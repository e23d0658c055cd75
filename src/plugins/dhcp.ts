import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginCall } from '../cni/plugin.ts';
import type { Result } from '../cni/result.ts';
import { cniVersions } from '../cni/version.ts';
import { type Link, links } from '../linux/link.ts';
import { Container } from './container-interface.ts';
import { parseDhcpConfig } from './dhcp/config.ts';
import { type KeeperOptions, LeaseKeeper } from './dhcp/keeper.ts';
import type { RecordOf, Types } from './dhcp/protocol.ts';
import { bootId, type Holder, keyOf } from './dhcp/records.ts';
import { acceptAdvertisements, announcedRouter, autoconfigured } from './dhcp/slaac.ts';
import { resultOfLease } from './dhcp/v4/lease.ts';
import { dhcp4 } from './dhcp/v4/protocol.ts';
import { resultOfLease as resultOfLease6 } from './dhcp/v6/lease.ts';
import { dhcp6, duidOf } from './dhcp/v6/protocol.ts';
import { readValidAttachments } from './valid-attachments.ts';

export interface Dhcp {
  readonly plugin: Plugin;
  /** Of the leases of both families. */
  readonly keeper: Keeping;
}

/** Whoever runs plugins for long has it resume leases of before, and closes it. */
export type Keeping = Pick<LeaseKeeper<Types>, 'resume' | 'close'>;

/** Milliseconds that an ADD waits for a router beside the server, without which nothing but the link can be reached. */
const patienceForRouter = 2_000;

/**
 * IPAM by a DHCP server of the network that the interface is on, for as long as the pod lives.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists: leases are kept by
 * whoever runs the plugins, so there is no second daemon; they outlive its restart; and a server is told when one is
 * given back.
 */
export function createDhcp(options: KeeperOptions): Dhcp {
  const keeper = new LeaseKeeper(dhcp4, options);
  const keeper6 = new LeaseKeeper(dhcp6, options);
  const plugin: Plugin = {
    type: 'dhcp',
    versions: cniVersions,

    validate: parseDhcpConfig,

    async add(call) {
      const { options, ipv4, ipv6 } = parseDhcpConfig(call);
      using container = Container.open(call.attachment);
      const link = await upLink(container, call.attachment.ifName);
      const { path: netns, id: netnsId } = container.namespace;
      const holder = holderOf(call);
      const asked = { ...holder, netns, netnsId, index: link.index, bootId: bootId(), status: 'asked' } as const;
      await using undo = new AsyncDisposableStack();
      const parts: Result[] = [];
      if (ipv4) {
        const lease = await keeper.acquire({
          ...asked,
          // The kernel hands what is for a shared hardware address to the interface that has the IP address.
          broadcast: link.kind === 'ipvlan',
          options: [...options].map(([code, value]) => [code, Buffer.from(value).toString('hex')]),
        });
        undo.defer(() => keeper.release(holder));
        parts.push(resultOfLease(lease));
      }
      if (ipv6 === 'slaac') parts.push(await autoconfigured(container, link));
      if (ipv6 === 'dhcpv6') {
        await acceptAdvertisements(container, link.name, { autoconf: false });
        const lease = await keeper6.acquire({ ...asked, duid: duidOf(holder) });
        undo.defer(() => keeper6.release(holder));
        parts.push(resultOfLease6(lease, await announcedRouter(container, link.index, patienceForRouter)));
      }
      undo.move();
      return joined(parts);
    },

    async delete(call) {
      await keeper6.release(holderOf(call));
      await keeper.release(holderOf(call));
    },

    async check(call) {
      const { ipv4, ipv6 } = parseDhcpConfig(call);
      if (ipv4) checkLease(call, 'DHCP', await keeper.find(holderOf(call)));
      if (ipv6 === 'dhcpv6') checkLease(call, 'DHCPv6', await keeper6.find(holderOf(call)));
    },

    async status() {
      try {
        await accessNearest(options.directory);
      } catch (thrown) {
        const problem = thrown instanceof Error ? thrown.message : String(thrown);
        const message = `DHCP leases cannot be noted in ${options.directory}: ${problem}`;
        throw new CniError(ErrorCode.PluginNotAvailable, message);
      }
    },

    async gc({ config }) {
      const valid = new Set(readValidAttachments(config).map((each) => keyOf({ ...each, network: config.name })));
      for (const each of [keeper, keeper6]) {
        await each.releaseOthers(config.name, (holder) => valid.has(keyOf(holder)));
      }
    },
  };
  const both: Keeping = {
    async resume(log) {
      for (const each of [keeper, keeper6]) await each.resume(log);
    },
    async close() {
      await Promise.all([keeper.close(), keeper6.close()]);
    },
  };
  return { plugin, keeper: both };
}

/** Leases of the node. They mean nothing after its next boot, which empties /run. */
const node = createDhcp({ directory: '/run/cni/dhcp' });

export const dhcp: Plugin = node.plugin;

/** Keeps the leases of all pods. */
export const dhcpLeases: Keeping = node.keeper;

/** @throws {CniError} 999 when no lease is kept, or it is not what the result says. */
function checkLease(
  { config, attachment, prevResult }: PluginCall,
  protocol: string,
  record: RecordOf<Types> | undefined,
): void {
  const { ifName } = attachment;
  if (record?.lease === undefined || record.status === 'asked') {
    throw failure(`no ${protocol} lease is kept for interface "${ifName}" in network "${config.name}"`);
  }
  const { address } = record.lease;
  if (record.status !== 'bound') {
    throw failure(`the ${protocol} lease of ${address} for interface "${ifName}" was ${record.status}`);
  }
  const given = prevResult?.ips.map((ip) => ip.address) ?? [];
  if (given.length > 0 && !given.includes(address)) {
    throw failure(
      `the ${protocol} lease for interface "${ifName}" is ${address} by now, the result has ${given.join(', ')}`,
    );
  }
}

function holderOf({ config, attachment }: Pick<PluginCall, 'config' | 'attachment'>): Holder {
  return { network: config.name, containerId: attachment.containerId, ifName: attachment.ifName };
}

/** The interface, which must be up before anything can be asked by it. */
async function upLink(container: Container, name: string): Promise<Link> {
  const link = await container.link(name);
  if (link.mac === '') throw failure(`interface "${name}" has no hardware address, which DHCP goes by`);
  if (!link.flags.up) await container.netlink.run(links.change(link.index, { up: true }));
  return link;
}

const joined = (parts: readonly Result[]): Result => ({
  interfaces: [],
  ips: parts.flatMap(({ ips }) => ips),
  routes: parts.flatMap(({ routes }) => routes),
  dns: parts.map(({ dns }) => dns).reduce(joinedDns, {}),
});

/** Name servers and search domains of both families; the domain is of the first that tells one. */
function joinedDns(first: Result['dns'], second: Result['dns']): Result['dns'] {
  const nameservers = [...(first.nameservers ?? []), ...(second.nameservers ?? [])];
  const search = [...new Set([...(first.search ?? []), ...(second.search ?? [])])];
  return {
    ...second,
    ...first,
    ...(nameservers.length > 0 && { nameservers }),
    ...(search.length > 0 && { search }),
  };
}

/** Whether files can be made in a directory or, where it does not exist yet, in its nearest ancestor. */
async function accessNearest(directory: string): Promise<void> {
  try {
    await access(directory, constants.W_OK | constants.X_OK);
  } catch (thrown) {
    const isMissing = thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT';
    if (!isMissing || dirname(directory) === directory) throw thrown;
    await accessNearest(dirname(directory));
  }
}

const failure = (message: string): CniError => new CniError(ErrorCode.Internal, message);
