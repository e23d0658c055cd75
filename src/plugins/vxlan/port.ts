import type { Attachment } from '../../cni/plugin.ts';
import { type Link, links } from '../../linux/link.ts';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';
import { digest } from '../masquerade/identity.ts';

/*
 * The node's end of a pod's cable says whose it is. So it is found where the pod's namespace is gone and nobody knows the
 * result any more: the kernel takes it down some time after, and a network is not removed before its last pod has left.
 */

/** IFALIASZ of linux/if.h, without the zero byte at its end. */
const longestAlias = 255;

function aliasOf({ containerId, ifName }: Attachment): string {
  const alias = `plexus vxlan ${containerId} ${ifName}`;
  return Buffer.byteLength(alias) <= longestAlias ? alias : `plexus vxlan ${digest(containerId, 64)} ${ifName}`;
}

/** To be called before the port joins its bridge. */
export async function markPort(node: Rtnetlink, { index }: Link, attachment: Attachment): Promise<void> {
  await node.run(links.change(index, { alias: aliasOf(attachment) }));
}

/** Removes what is left of an attachment's cable, and with it the container's end. */
export async function removePort(node: Rtnetlink, attachment: Attachment): Promise<void> {
  const [all] = await node.run(links.list());
  for (const { index } of all.filter(({ kind, alias }) => kind === 'veth' && alias === aliasOf(attachment))) {
    const [outcome] = await node.settle(links.delete({ index }));
    if (outcome?.ok === false && outcome.error.code !== 'ENODEV') throw outcome.error;
  }
}
