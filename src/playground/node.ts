import { addresses } from '../linux/address.ts';
import { links } from '../linux/link.ts';
import { NetworkNamespace } from '../linux/namespace.ts';
import { routes } from '../linux/route.ts';
import { Rtnetlink } from '../linux/rtnetlink.ts';
import { writeSysctl } from '../linux/sysctl.ts';
import { parsePrefix } from '../net/ip.ts';
import { Pause } from './pause.ts';
import { jumboMtu, nodeAddress, nodeInterfaces, routerAddress } from './vpc.ts';

/**
 * The playground's node: a network namespace with interfaces that plugins can take for masters. Nothing of it is in the
 * machine's own namespace. Each interface is one end of a veth, whose other end stands for the network it is plugged into,
 * in a namespace of its own; the first one's is the router of the node's subnet.
 */
export class PlaygroundNode implements AsyncDisposable {
  readonly namespace: NetworkNamespace;
  readonly netns: string;
  readonly #parts: AsyncDisposableStack;

  private constructor(namespace: NetworkNamespace, netns: string, parts: AsyncDisposableStack) {
    this.namespace = namespace;
    this.netns = netns;
    this.#parts = parts;
  }

  /**
   * @param directory Is removed with all that is in it once this is disposed of, or once this process has ended, in
   *   whatever way.
   * @throws {KernelError}
   */
  static async start(directory: string): Promise<PlaygroundNode> {
    await using parts = new AsyncDisposableStack();
    // Whoever writes there ends at the same moment; twice, in case it was not quite the same.
    const remove = 'cat; rm -rf -- "$1" || rm -rf -- "$1"';
    const pause = parts.use(await Pause.start(['sh', '-c', remove, 'sh', directory]));
    const namespace = parts.use(NetworkNamespace.open(pause.netns));
    const outside = parts.use(await Pause.start());
    using vpc = NetworkNamespace.open(outside.netns);
    await plugIn(namespace, vpc);
    return new PlaygroundNode(namespace, pause.netns, parts.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

async function plugIn(node: NetworkNamespace, vpc: NetworkNamespace): Promise<void> {
  using inside = Rtnetlink.open(node);
  using outside = Rtnetlink.open(vpc);
  for (const name of nodeInterfaces) {
    const peer = { name, mtu: jumboMtu, namespace: vpc.fd };
    await inside.run(links.create({ name, mtu: jumboMtu, kind: { type: 'veth', peer } }));
  }
  await Promise.all([inside, outside].map(bringUp));
  const [first] = nodeInterfaces;
  const [own] = await inside.run(links.get({ name: first }));
  const [router] = await outside.run(links.get({ name: first }));
  await outside.run(addresses.add({ index: router.index, address: parsePrefix(routerAddress) }));
  await inside.run(
    addresses.add({ index: own.index, address: parsePrefix(nodeAddress) }),
    routes.add({ family: 4, index: own.index, gateway: parsePrefix(routerAddress).ip }),
  );
  // Pods reach one another, the node and the router, which finds their addresses where the node's is.
  await writeSysctl(node, 1, 'ipv4', 'ip_forward');
  await writeSysctl(node, 1, 'ipv4', 'conf', first, 'proxy_arp');
}

async function bringUp(netlink: Rtnetlink): Promise<void> {
  const [present] = await netlink.run(links.list());
  // Kernels make others by themselves, such as tunl0, which stay as they are.
  const wanted: readonly string[] = ['lo', ...nodeInterfaces];
  await netlink.run(
    ...present.filter(({ name }) => wanted.includes(name)).map(({ index }) => links.change(index, { up: true })),
  );
}
