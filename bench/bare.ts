import { addresses } from '../src/linux/address.ts';
import { links } from '../src/linux/link.ts';
import { NetworkNamespace } from '../src/linux/namespace.ts';
import { routes } from '../src/linux/route.ts';
import { Rtnetlink } from '../src/linux/rtnetlink.ts';
import { parseIP, parsePrefix } from '../src/net/ip.ts';

/* What the kernel alone takes for the same work: the floor under every plugin. */

export async function addBare(netns: string, address: string): Promise<void> {
  using namespace = NetworkNamespace.open(netns);
  using home = Rtnetlink.open();
  using inside = Rtnetlink.open(namespace);
  const [master] = await home.run(links.get({ name: 'ens6' }));
  const kind = { type: 'macvlan', mode: 'bridge' } as const;
  await home.run(links.create({ name: 'net1', namespace: namespace.fd, parent: master.index, kind }));
  const [{ index }] = await inside.run(links.get({ name: 'net1' }));
  await inside.run(
    addresses.add({ index, address: parsePrefix(address) }),
    links.change(index, { up: true }),
    routes.add({ family: 4, gateway: parseIP('10.64.0.1'), index }),
  );
}

export async function deleteBare(netns: string): Promise<void> {
  using namespace = NetworkNamespace.open(netns);
  using inside = Rtnetlink.open(namespace);
  await inside.run(links.delete({ name: 'net1' }));
}
