import { decodeResult } from '../cni/convert.ts';
import type { Entry } from '../journal/entry.ts';
import type { NetworkStatus } from '../kubernetes/status.ts';
import { withDefaultRoutes } from './default-route.ts';
import { rememberedDeviceInfo } from './device-info.ts';
import { type AttachedNetwork, networkStatus } from './network-status.ts';
import { plannedList } from './plan.ts';
import { podLinks } from './pod-links.ts';

/**
 * What a sandbox is attached to by the journal: what could not be detached is, too.
 *
 * @throws {CniError} when the journal has what is no result.
 */
export function attachedNetworks(entry: Entry): readonly AttachedNetwork[] {
  const attached = entry.plan.attachments.flatMap((planned) => {
    const { network, ifName } = planned;
    const raw = entry.results.get(ifName);
    if (raw === undefined) return [];
    const result = decodeResult(
      raw,
      plannedList(planned).cniVersion,
      `network ${network}, interface ${ifName}: result`,
    );
    return [{ ...planned, result }];
  });
  return withDefaultRoutes(attached);
}

/**
 * The network-status of a sandbox, from the journal and the kernel.
 *
 * @throws {KernelError} when its namespace is gone.
 */
export async function sandboxStatus(entry: Entry): Promise<NetworkStatus[]> {
  const links = await podLinks(entry.plan.netns);
  const statuses = attachedNetworks(entry).map(async (each) => {
    const planned = entry.plan.attachments.find(({ ifName }) => ifName === each.ifName);
    return networkStatus({ ...each, deviceInfo: await rememberedDeviceInfo(planned?.deviceInfoFile) }, links);
  });
  return (await Promise.all(statuses)).flat();
}
