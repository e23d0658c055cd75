import { access, constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin, PluginConfig } from '../cni/plugin.ts';
import { cniVersions } from '../cni/version.ts';
import { formatIP } from '../net/ip.ts';
import { allocate, formatAllocation } from './host-local/allocation.ts';
import { parseDirectory, parseHostLocalConfig } from './host-local/config.ts';
import { containerIdOf, ownerOf } from './host-local/reservations.ts';
import { readResolvConf } from './host-local/resolv-conf.ts';
import { openStore } from './host-local/store.ts';
import { readValidAttachments } from './valid-attachments.ts';

/**
 * IPAM from ranges of addresses, with the reservations on this node's disk: the containernetworking host-local plugin,
 * in its configuration, its results and its files (see {@link openStore}).
 *
 * Differences: the lock is held for a whole ADD, and an ADD that fails has reserved nothing; DEL, CHECK and GC need no
 * more of the configuration than `dataDir`; GC is done, so that addresses do not outlive a lost DEL.
 */
export const hostLocal: Plugin = {
  type: 'host-local',
  versions: cniVersions,

  validate({ config, attachment }) {
    parseHostLocalConfig(config, attachment.args);
  },

  async add({ config, attachment }) {
    const { containerId, ifName } = attachment;
    const { network, directory, sets, requested, routes, resolvConf } = parseHostLocalConfig(config, attachment.args);
    const dns = resolvConf === undefined ? {} : await readResolvConf(resolvConf);
    const allocations = await openStore(directory).change(async (transaction) => {
      const last = await Promise.all(sets.map((_, set) => transaction.lastReserved(set)));
      const request = { network, containerId, ifName, sets, requested };
      const chosen = allocate(request, transaction.reservations, (set) => last[set]);
      await transaction.reserve(chosen, ownerOf(containerId, ifName));
      return chosen;
    });
    const ips = allocations.map((allocation) => ({
      address: formatAllocation(allocation),
      gateway: formatIP(allocation.range.gateway),
    }));
    return { interfaces: [], ips, routes, dns };
  },

  async delete({ config, attachment: { containerId, ifName } }) {
    await openStore(parseDirectory(config)).changeExisting(({ reservations, release }) =>
      release(reservations.releasedBy(containerId, ifName)),
    );
  },

  async check({ config, attachment: { containerId, ifName } }) {
    const directory = parseDirectory(config);
    const missing = new CniError(
      ErrorCode.Internal,
      `host-local: Failed to find address added by container ${containerId}`,
      `no file of ${directory} names it and interface ${ifName}`,
    );
    const checked = await openStore(directory).changeExisting(async ({ reservations }) => {
      if (reservations.of(containerId, ifName).length === 0) throw missing;
    });
    if (checked === undefined) throw missing;
  },

  /** That a network is exhausted is no reason to call it unavailable: runtimes would call the whole node not ready. */
  async status({ config }) {
    const { directory } = parseHostLocalConfig(config, new Map());
    try {
      await accessNearest(directory);
    } catch (thrown) {
      const problem = thrown instanceof Error ? thrown.message : String(thrown);
      throw new CniError(ErrorCode.PluginNotAvailable, `addresses cannot be reserved in ${directory}: ${problem}`);
    }
  },

  async gc({ config }) {
    const valid = validOwners(config);
    await openStore(parseDirectory(config)).changeExisting(({ reservations, release }) =>
      release([...reservations].filter(({ owner }) => !valid.has(owner))),
    );
  },
};

/** The contents of files that GC keeps: those that name a valid attachment, or the container of one. */
function validOwners(config: PluginConfig): ReadonlySet<string> {
  const owners = readValidAttachments(config).map(({ containerId, ifName }) => ownerOf(containerId, ifName));
  return new Set([...owners, ...owners.map(containerIdOf)]);
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
