import { links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';

/** An interface of a pod as the kernel has it. */
export interface PodLink {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
}

/**
 * All interfaces of a pod, by name.
 *
 * @param netns Path of its namespace.
 * @throws {KernelError}
 */
export async function podLinks(netns: string): Promise<ReadonlyMap<string, PodLink>> {
  using namespace = NetworkNamespace.open(netns);
  using netlink = Rtnetlink.open(namespace);
  const [found] = await netlink.run(links.list());
  return new Map(found.map((link) => [link.name, link]));
}
