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
import { resultOfLease } from './dhcp/lease.ts';
import { type Holder, keyOf } from './dhcp/records.ts';
import { autoconfigured } from './dhcp/slaac.ts';
import { readValidAttachments } from './valid-attachments.ts';

export interface Dhcp {
  readonly plugin: Plugin;
  readonly keeper: LeaseKeeper;
}

/**
 * IPAM by a DHCP server of the network that the interface is on, for as long as the pod lives.
 *
 * Equal to the containernetworking plugin, but for what docs/differences-from-the-originals.md lists: leases are kept by
 * whoever runs the plugins, so there is no second daemon; they outlive its restart; and a server is told when one is
 * given back.
 */
export function createDhcp(options: KeeperOptions): Dhcp {
  const keeper = new LeaseKeeper(options);
  const plugin: Plugin = {
    type: 'dhcp',
    versions: cniVersions,

    validate: parseDhcpConfig,

    async add(call) {
      const { options, ipv4, ipv6 } = parseDhcpConfig(call);
      using container = Container.open(call.attachment);
      const link = await upLink(container, call.attachment.ifName);
      const { namespace } = container;
      await using undo = new AsyncDisposableStack();
      const parts: Result[] = [];
      if (ipv4) {
        const lease = await keeper.acquire({
          ...holderOf(call),
          netns: namespace.path,
          netnsId: namespace.id,
          index: link.index,
          // The kernel hands what is for a shared hardware address to the interface that has the IP address.
          broadcast: link.kind === 'ipvlan',
          options: [...options].map(([code, value]) => [code, Buffer.from(value).toString('hex')]),
        });
        undo.defer(() => keeper.release(holderOf(call)));
        parts.push(resultOfLease(lease));
      }
      if (ipv6 === 'slaac') parts.push(await autoconfigured(container, link));
      undo.move();
      return joined(parts);
    },

    delete: (call) => keeper.release(holderOf(call)),

    async check(call) {
      const { ipv4 } = parseDhcpConfig(call);
      if (!ipv4) return;
      const { ifName } = call.attachment;
      const record = await keeper.find(holderOf(call));
      if (record?.lease === undefined || record.status === 'asked') {
        throw failure(`no DHCP lease is kept for interface "${ifName}" in network "${call.config.name}"`);
      }
      const { address } = record.lease;
      if (record.status !== 'bound') {
        throw failure(`the DHCP lease of ${address} for interface "${ifName}" was ${record.status}`);
      }
      const given = call.prevResult?.ips.map((ip) => ip.address) ?? [];
      if (given.length > 0 && !given.includes(address)) {
        throw failure(
          `the DHCP lease for interface "${ifName}" is ${address} by now, the result has ${given.join(', ')}`,
        );
      }
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
      await keeper.releaseOthers(config.name, (holder) => valid.has(keyOf(holder)));
    },
  };
  return { plugin, keeper };
}

/** Leases of the node. They mean nothing after its next boot, which empties /run. */
const node = createDhcp({ directory: '/run/cni/dhcp' });

export const dhcp: Plugin = node.plugin;

/** Keeps the leases of all pods: whoever runs plugins for long has it resume them, and closes it. */
export const dhcpLeases: LeaseKeeper = node.keeper;

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
  dns: Object.assign({}, ...parts.map(({ dns }) => dns)),
});

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
