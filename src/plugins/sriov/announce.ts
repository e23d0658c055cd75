import { setTimeout as sleep } from 'node:timers/promises';
import type { ResultIP } from '../../cni/result.ts';
import { announceAddress } from '../../linux/arp.ts';
import { isKernelError } from '../../linux/errors.ts';
import { type Link, links } from '../../linux/link.ts';
import { parsePrefix } from '../../net/ip.ts';
import type { Container } from '../container-interface.ts';

/** Milliseconds between looks for a carrier, and until the pod goes on without. */
const carrierInterval = 10;
const carrierTimeout = 200;

/** Of an Ethernet address as text; that of InfiniBand is longer, and its ARP another. */
const ethernetLength = 17;

/**
 * Tells the neighbours which IPv4 addresses the interface has: one that a pod had before may be in their tables with that
 * pod's MAC address. The kernel announces them when the interface comes up (arp_notify), which on hardware is before it has a
 * carrier; those of IPv6 it announces when the carrier is there (ndisc_notify).
 */
export async function announce(
  { namespace, netlink }: Pick<Container, 'namespace' | 'netlink'>,
  { index }: Pick<Link, 'index'>,
  ips: readonly ResultIP[],
): Promise<void> {
  const own = ips.map(({ address }) => parsePrefix(address).ip).filter(({ family }) => family === 4);
  if (own.length === 0) return;
  const deadline = performance.now() + carrierTimeout;
  let [link] = await netlink.run(links.get({ index }));
  while (!link.flags.running && performance.now() < deadline) {
    await sleep(carrierInterval);
    [link] = await netlink.run(links.get({ index }));
  }
  if (link.mac.length !== ethernetLength) return;
  try {
    for (const address of own) announceAddress(namespace, index, link.mac, address);
  } catch (error) {
    // It makes connections faster, and nothing depends on it.
    if (!isKernelError(error)) throw error;
  }
}
