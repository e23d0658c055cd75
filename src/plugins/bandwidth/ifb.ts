import { createHash } from 'node:crypto';
import type { NetworkCall, PluginCall } from '../../cni/plugin.ts';
import { isKernelError } from '../../linux/errors.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { creationFailure } from '../create-link.ts';
import { readValidAttachments, type ValidAttachment } from '../valid-attachments.ts';

/*
 * The interface of the node by way of which goes what a pod sends: the kernel has queues only where something is sent. It
 * has the containernetworking plugin's name, of network and container; where a pod has one network twice, the second
 * attachment's has the interface's name in it too. Its alias says whose it is.
 */

const nameForm = /^bwp[0-9a-f]{12}$/;

/** What the kernel takes for an alias (IFALIASZ, linux/if.h, with the zero byte at its end). */
const longestAlias = 255;

const nameOf = (...parts: readonly string[]): string =>
  `bwp${createHash('sha512').update(parts.join('')).digest('hex')}`.slice(0, 15);

/** None of the three has a `/` in it. Undefined where it is too long: GC will not know whose the interface is. */
function aliasOf(network: string, { containerId, ifName }: ValidAttachment): string | undefined {
  const alias = `${network}/${containerId}/${ifName}`;
  return Buffer.byteLength(alias) <= longestAlias ? alias : undefined;
}

interface Names {
  readonly first: string;
  readonly second: string;
  readonly alias: string | undefined;
}

function namesOf({ config: { name }, attachment }: PluginCall): Names {
  const { containerId, ifName } = attachment;
  return {
    first: nameOf(name, containerId),
    second: nameOf(name, containerId, ifName),
    alias: aliasOf(name, attachment),
  };
}

/**
 * Makes the interface of an attachment, up.
 *
 * @throws {CniError} when it is there already; nothing is made then.
 */
export async function createIfb(
  node: Rtnetlink,
  undo: AsyncDisposableStack,
  call: PluginCall,
  mtu: number,
): Promise<Link> {
  const { first, second, alias } = namesOf(call);
  const present = await find(node, first);
  const isAnothers = present?.alias !== undefined && present.alias !== alias;
  const link = { name: isAnothers ? second : first, kind: { type: 'ifb' } } as const;
  try {
    await node.run(links.create({ ...link, mtu, txQueueLength: 0, up: true }));
  } catch (error) {
    throw creationFailure(link, error);
  }
  undo.defer(() => remove(node, link.name));
  const [made] = await node.run(links.get({ name: link.name }));
  if (alias !== undefined) await node.run(links.change(made.index, { alias }));
  return made;
}

/** The interface of an attachment. One without an alias is the containernetworking plugin's, or was left half made. */
export async function findIfb(node: Rtnetlink, call: PluginCall): Promise<Link | undefined> {
  const { first, second, alias } = namesOf(call);
  for (const name of [second, first]) {
    const found = await find(node, name);
    if (found !== undefined && (found.alias === undefined || found.alias === alias)) return found;
  }
  return undefined;
}

export const removeIfb = (node: Rtnetlink, { name }: Link): Promise<void> => remove(node, name);

/** Removes what belongs to attachments of the network that are no longer valid, as far as an alias tells. */
export async function gcIfbs(node: Rtnetlink, { config }: NetworkCall): Promise<void> {
  const valid = new Set(readValidAttachments(config).map((attachment) => aliasOf(config.name, attachment)));
  const [all] = await node.run(links.list());
  for (const { name, kind, alias } of all) {
    const isOurs = kind === 'ifb' && nameForm.test(name) && alias?.startsWith(`${config.name}/`) === true;
    if (isOurs && !valid.has(alias)) await remove(node, name);
  }
}

async function find(node: Rtnetlink, name: string): Promise<Link | undefined> {
  const [found] = await node.settle(links.get({ name }));
  if (found?.ok === false && !isKernelError(found.error, 'ENODEV')) throw found.error;
  return found?.ok === true && found.value.kind === 'ifb' ? found.value : undefined;
}

async function remove(node: Rtnetlink, name: string): Promise<void> {
  const [outcome] = await node.settle(links.delete({ name }));
  if (outcome?.ok === false && !isKernelError(outcome.error, 'ENODEV')) throw outcome.error;
}
