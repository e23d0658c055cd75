import { isKernelError } from '../../src/linux/errors.ts';
import { links } from '../../src/linux/link.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { Pause } from '../../src/playground/pause.ts';

/** Whether the kernel makes ipvlan links, found out by making one in a namespace that goes at once. */
export async function hasIpvlan(): Promise<boolean> {
  await using pause = await Pause.start();
  using namespace = NetworkNamespace.open(pause.netns);
  using netlink = Rtnetlink.open(namespace);
  await netlink.run(links.create({ name: 'master', kind: { type: 'veth', peer: { name: 'peer' } } }));
  const [master] = await netlink.run(links.get({ name: 'master' }));
  try {
    const kind = { type: 'ipvlan', mode: 'l2', flag: 'bridge' } as const;
    await netlink.run(links.create({ name: 'ipvlan', parent: master.index, kind }));
    return true;
  } catch (error) {
    if (isKernelError(error, 'EOPNOTSUPP')) return false;
    throw error;
  }
}
