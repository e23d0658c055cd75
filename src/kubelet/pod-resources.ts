import { type Channel, openChannel } from './grpc.ts';
import type { PodDevices, PodIdentity } from './pod-devices.ts';
import { type PodResources, PodResourcesLister } from './pod-resources_pb.ts';

/** Multus' own: 16 MiB, and 10 s, which are for both calls together here. */
const bounds = { maxMessage: 16 * 1024 * 1024, limit: 10_000 };

/**
 * Asks kubelet what it gave to a pod.
 *
 * @param socket Path of kubelet.sock in the directory pod-resources.
 * @throws {Error} of gRPC, in its words.
 */
export async function readPodResources(socket: string, pod: PodIdentity, limit = bounds.limit): Promise<PodDevices> {
  using channel = openChannel(socket, { ...bounds, limit });
  return devicesOf(await resourcesOf(channel, pod));
}

async function resourcesOf(channel: Channel, { namespace, name }: PodIdentity): Promise<PodResources | undefined> {
  const { get, list } = PodResourcesLister.method;
  try {
    return (await channel.call(get, { podName: name, podNamespace: namespace })).podResources;
  } catch {
    // A kubelet that is too old for Get, or was not told to offer it, answers with codes of any kind. If it does not answer
    // at all, List tells.
  }
  const { podResources } = await channel.call(list, {});
  return podResources.find((each) => each.name === name && each.namespace === namespace);
}

function devicesOf(resources: PodResources | undefined): PodDevices {
  const devices = new Map<string, string[]>();
  const give = (resource: string, ids: readonly string[]): void => {
    devices.set(resource, [...(devices.get(resource) ?? []), ...ids]);
  };
  for (const container of resources?.containers ?? []) {
    for (const { resourceName, deviceIds } of container.devices) give(resourceName, deviceIds);
    for (const { claimName, claimResources } of container.dynamicResources) {
      const names = claimResources.flatMap(({ cdiDevices }) => cdiDevices.map((device) => device.name));
      give(claimName, names.map(cdiDevice));
    }
  }
  return { source: 'its API of pod resources', devices };
}

/** What is behind the class in a qualified name of a CDI device, vendor/class=device. */
const cdiDevice = (name: string): string => name.slice(name.indexOf('=') + 1);
