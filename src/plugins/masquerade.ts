import { z } from 'zod';
import { CniError, ErrorCode } from '../cni/error.ts';
import type { NetworkCall, PluginCall } from '../cni/plugin.ts';
import { addresses } from '../linux/address.ts';
import { CommandError } from '../linux/command.ts';
import { lacksIptables } from '../linux/iptables.ts';
import { links } from '../linux/link.ts';
import { lacksNftables } from '../linux/nftables.ts';
import { type Prefix, parsePrefix } from '../net/ip.ts';
import type { Container } from './container-interface.ts';
import { both } from './masquerade/both.ts';
import type { Owner } from './masquerade/identity.ts';
import { addIptables, gcIptables, removeIptables } from './masquerade/iptables.ts';
import { addNftables, gcNftables, removeNftables } from './masquerade/nftables.ts';
import { readValidAttachments } from './valid-attachments.ts';

/* What a container sends to outside of its subnet leaves with the node's address. Multicast is left alone. */

/** Keys of the plugins that masquerade. */
export const masqueradeKeys = {
  ipMasq: z.boolean().default(false),
  /** Empty: iptables where the node has it, else nftables. */
  ipMasqBackend: z.enum(['', 'iptables', 'nftables'], 'expected iptables or nftables').default(''),
};

export type MasqueradeBackend = z.output<(typeof masqueradeKeys)['ipMasqBackend']>;

/**
 * Masquerades what comes from these addresses of an attachment and is for another subnet than theirs.
 *
 * @throws {CniError} when the node cannot; no rule is left then.
 */
export async function addMasquerade(
  call: PluginCall,
  backend: MasqueradeBackend,
  prefixes: readonly Prefix[],
): Promise<void> {
  const owner = ownerOf(call);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => remove(owner, prefixes));
  try {
    await addBy(backend, owner, prefixes);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    throw new CniError(
      ErrorCode.Internal,
      `network "${owner.network}": ipMasq: ${error.message}`,
      lacksIptables(error) || lacksNftables(error)
        ? 'masquerading needs iptables or nftables on the node'
        : error.stderr,
      { cause: error },
    );
  }
  undo.move();
}

async function addBy(backend: MasqueradeBackend, owner: Owner, prefixes: readonly Prefix[]): Promise<void> {
  if (backend !== 'nftables') {
    try {
      return await addIptables(owner, prefixes);
    } catch (error) {
      if (backend === 'iptables' || !lacksIptables(error)) throw error;
    }
  }
  await addNftables(owner, prefixes);
}

/**
 * Removes an attachment's rules, by whichever backend, and however much is left of it. To be called while the interface
 * is still there, where it is: its addresses tell its rules from those of the container's other interfaces.
 *
 * @param container undefined when its namespace is gone.
 */
export async function removeMasquerade(call: PluginCall, container: Container | undefined): Promise<void> {
  await remove(ownerOf(call), await addressesOf(call, container));
}

/** Removes the rules of attachments that GC does not keep. */
export async function gcMasquerade({ config }: NetworkCall): Promise<void> {
  const valid = readValidAttachments(config).map((attachment) => ({ network: config.name, ...attachment }));
  await byBoth(
    () => gcIptables(config.name, valid),
    () => gcNftables(config.name, valid),
  );
}

function remove(owner: Owner, prefixes: readonly Prefix[] | undefined): Promise<void> {
  return byBoth(
    () => removeIptables(owner, prefixes),
    () => removeNftables(owner),
  );
}

/** What a node has no program for has left no rules there. */
function byBoth(iptables: () => Promise<void>, nftables: () => Promise<void>): Promise<void> {
  return both(
    () => unless(lacksIptables, iptables),
    () => unless(lacksNftables, nftables),
  );
}

async function unless(isLacking: (error: unknown) => boolean, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!isLacking(error)) throw error;
  }
}

async function addressesOf(
  { attachment: { ifName }, prevResult }: PluginCall,
  container: Container | undefined,
): Promise<readonly Prefix[] | undefined> {
  const given = prevResult?.ips.filter(({ interface: index }) => {
    return index !== undefined && prevResult.interfaces[index]?.name === ifName;
  });
  if (given !== undefined && given.length > 0) return given.map(({ address }) => parsePrefix(address));
  if (container === undefined) return undefined;
  const [found] = await container.netlink.settle(links.get({ name: ifName }));
  if (found?.ok !== true) return undefined;
  const [present] = await container.netlink.run(addresses.list({ index: found.value.index }));
  return present.map(({ address }) => address);
}

const ownerOf = ({ config, attachment: { containerId, ifName } }: PluginCall): Owner => ({
  network: config.name,
  containerId,
  ifName,
});
