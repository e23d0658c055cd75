import { isKernelError } from './errors.ts';
import { links } from './link.ts';
import { inNewNamespace, NetworkNamespace } from './namespace.ts';
import { ingressHandle, qdiscs } from './qdisc.ts';
import { type Request, Rtnetlink } from './rtnetlink.ts';
import { trafficFilters } from './traffic-filter.ts';

/** What limits are made of, by the names of the modules. Each needs those before it to be asked about. */
export const trafficModules = ['sch_tbf', 'sch_htb', 'sch_ingress', 'cls_u32 and act_mirred'] as const;
export type TrafficModule = (typeof trafficModules)[number];

/**
 * Which of these the kernel has, by its own word: it is asked to make them in a namespace that nobody sees and that is gone
 * after, and loads their modules as it would for an attachment.
 *
 * @throws {KernelError} when it may not be asked.
 */
export async function supportedTraffic(): Promise<ReadonlySet<TrafficModule>> {
  using scratch = inNewNamespace(() => NetworkNamespace.open('/proc/thread-self/ns/net'));
  using netlink = Rtnetlink.open(scratch);
  const [{ index }] = await netlink.run(links.get({ name: 'lo' }));
  const supported = new Set<TrafficModule>();
  const ask = async (name: TrafficModule, request: Request<void>): Promise<void> => {
    const [outcome] = await netlink.settle(request);
    // What has no such name is not there; whatever else is wrong, it is.
    if (!(outcome?.ok === false && isKernelError(outcome.error, 'ENOENT'))) supported.add(name);
  };
  await ask('sch_tbf', qdiscs.add({ index, kind: { type: 'tbf', rate: 1e6, buffer: 1e6, limit: 1e6 } }));
  await netlink.settle(qdiscs.delete(index, 'root'));
  await ask('sch_htb', qdiscs.add({ index, kind: { type: 'htb', defaultClass: 0, directLength: 1 } }));
  await ask('sch_ingress', qdiscs.add({ index, kind: { type: 'ingress' } }));
  await ask('cls_u32 and act_mirred', trafficFilters.redirectAll(index, ingressHandle, index, 0));
  return supported;
}
