import { before } from 'node:test';
import { CLONE_NEWNET, unshare } from '../../src/linux/libc.ts';
import { links } from '../../src/linux/link.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';

/**
 * Puts the process into a network namespace of its own, which is the node for all that it does from then on, and goes
 * with it. To be called before anything else: whoever has looked for the node's namespace already has found the machine's.
 */
export function becomeNode(): void {
  unshare(CLONE_NEWNET);
}

/** {@link becomeNode} for a file of tests: the node's own `lo` is up, and it has wires of these names. */
export function becomeNodeWith(...wires: readonly string[]): void {
  becomeNode();
  before(async () => {
    using netlink = Rtnetlink.open();
    const [lo] = await netlink.run(links.get({ name: 'lo' }));
    await netlink.run(links.change(lo.index, { up: true }));
    for (const name of wires) await addWire(name);
  });
}

/** A wire of the node: `name` is an interface that can be a master, `<name>p` its other end. Both are up. */
export async function addWire(name: string, mtu = 1500): Promise<void> {
  using netlink = Rtnetlink.open();
  const peer = { name: `${name}p`, mtu };
  await netlink.run(links.create({ name, mtu, kind: { type: 'veth', peer } }));
  for (const end of [name, peer.name]) {
    const [link] = await netlink.run(links.get({ name: end }));
    await netlink.run(links.change(link.index, { up: true }));
  }
}
