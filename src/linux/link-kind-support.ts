import { isUnknownKind, links } from './link.ts';
import type { KindName } from './link-kind.ts';
import { inNewNamespace, NetworkNamespace } from './namespace.ts';
import { Rtnetlink } from './rtnetlink.ts';

/**
 * Which kinds of link the kernel can make, by its own word. It is asked in a namespace that nobody sees and that is gone
 * after; it loads the modules of the kinds that it has, as it would for an attachment.
 *
 * @throws {KernelError} when it may not be asked.
 */
export async function supportedKinds<T extends KindName>(types: readonly T[]): Promise<ReadonlySet<T>> {
  using scratch = inNewNamespace(() => NetworkNamespace.open('/proc/thread-self/ns/net'));
  using netlink = Rtnetlink.open(scratch);
  const outcomes = await netlink.settle(...types.map((type) => links.probe(type)));
  return new Set(types.filter((_, i) => outcomes[i]?.ok === true || !isUnknownKind(outcomes[i]?.error)));
}
