import { CniError, ErrorCode } from '../cni/error.ts';
import type { Plugin } from '../cni/plugin.ts';
import { cniVersions } from '../cni/version.ts';
import { addresses, type InterfaceAddress } from '../linux/address.ts';
import { links } from '../linux/link.ts';
import { contains, formatIP, formatPrefix, type Prefix, parsePrefix } from '../net/ip.ts';
import { Container } from './container-interface.ts';

const name = 'lo';

const loopbackNetworks = ['127.0.0.0/8', '::1/128'].map(parsePrefix);

/**
 * The container's loopback interface, which the kernel makes and leaves down. CNI_IFNAME does not matter.
 *
 * Equal to the containernetworking plugin, but that an interface with an address it should not have is left as it was.
 */
export const loopback: Plugin = {
  type: 'loopback',
  versions: cniVersions,

  async add({ attachment, prevResult }) {
    using container = Container.open(attachment);
    const { netlink } = container;
    const { index, mac } = await container.link(name);
    const list = addresses.list({ index });
    const [before] = await netlink.run(list);
    refuseOthers(before);
    const [, present] = await netlink.run(links.change(index, { up: true }), list);
    if (prevResult !== undefined) return prevResult;
    const first = [4, 6].flatMap((family) => present.find(({ address }) => address.ip.family === family) ?? []);
    return {
      interfaces: [{ name, mac, sandbox: attachment.netns }],
      ips: first.map(({ address }) => ({ address: formatPrefix(address), interface: 0 })),
      routes: [],
      dns: {},
    };
  },

  async delete({ attachment }) {
    using container = Container.openIfAny(attachment);
    if (container === undefined) return;
    const { index } = await container.link(name);
    await container.netlink.run(links.change(index, { up: false }));
  },

  async check({ attachment }) {
    using container = Container.open(attachment);
    const { flags } = await container.link(name);
    if (!flags.up) throw new CniError(ErrorCode.Internal, 'loopback interface is down', `in ${attachment.netns}`);
  },
};

function refuseOthers(present: readonly InterfaceAddress[]): void {
  const other = present.find(({ address }) => !isLoopback(address));
  if (other === undefined) return;
  const text = formatIP(other.address.ip);
  throw new CniError(ErrorCode.Internal, `loopback interface found with non-loopback address "${text}"`);
}

const isLoopback = ({ ip }: Prefix): boolean => loopbackNetworks.some((network) => contains(network, ip));
