import { open } from 'node:fs/promises';
import { z } from 'zod';
import type { PodDevices, PodIdentity } from './pod-devices.ts';

/** More than any node needs: an entry is some hundred bytes, and the answer of the device plugin. */
const maxSize = 16 * 1024 * 1024;

const ids = z.array(z.string()).nullable();

/** kubernetes/pkg/kubelet/cm/devicemanager/checkpoint: ids by the number of their NUMA node; up to 1.19, a list of ids. */
const checkpoint = z.object({
  Data: z.object({
    PodDeviceEntries: z
      .array(z.object({ PodUID: z.string(), ResourceName: z.string(), DeviceIDs: ids.or(z.record(z.string(), ids)) }))
      .nullish(),
  }),
});

/**
 * Reads what kubelet gave to a pod from the file in which it keeps that for its own next start.
 *
 * @throws {Error} when the file is not there, or is none of kubelet's.
 */
export async function readCheckpoint(path: string, { uid }: PodIdentity): Promise<PodDevices> {
  await using file = await open(path);
  const { size } = await file.stat();
  if (size > maxSize) throw new Error(`${path} has ${size} bytes, at most ${maxSize} are read`);
  const parsed = checkpoint.safeParse(JSON.parse(await file.readFile('utf8')));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(`${path} is no checkpoint of kubelet: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const devices = new Map<string, string[]>();
  for (const entry of parsed.data.Data.PodDeviceEntries ?? []) {
    if (entry.PodUID !== uid) continue;
    const lists = Array.isArray(entry.DeviceIDs) ? [entry.DeviceIDs] : Object.values(entry.DeviceIDs ?? {});
    const given = lists.flatMap((list) => list ?? []);
    devices.set(entry.ResourceName, [...(devices.get(entry.ResourceName) ?? []), ...given]);
  }
  return { source: path, devices };
}
