import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { checkpointFile } from '../../src/kubelet/pod-devices.ts';

/** The resource that the device is of. */
export const resource = 'intel.com/sriov';

/** What its device plugin tells of it. */
export const deviceInfo = { type: 'pci', version: '1.1.0', pci: { 'pci-address': '0000:03:02.1' } };

/**
 * Gives a pod a device, as kubelet and a device plugin do.
 *
 * @param directory Of the test. Plexus finds both by the settings that are returned.
 * @param PodUID The pod's.
 */
export async function giveDevice(directory: string, PodUID: string) {
  const settings = { kubeletDir: join(directory, 'kubelet'), deviceInfoDir: join(directory, 'devinfo') };
  const checkpoint = checkpointFile(settings.kubeletDir);
  await mkdir(dirname(checkpoint), { recursive: true });
  const entry = { PodUID, ContainerName: 'main', ResourceName: resource, DeviceIDs: { '0': ['vf-1'] } };
  await writeFile(checkpoint, JSON.stringify({ Data: { PodDeviceEntries: [entry] }, Checksum: 1 }));
  const told = join(settings.deviceInfoDir, 'dp');
  await mkdir(told, { recursive: true });
  await writeFile(join(told, 'intel.com-sriov-vf-1-device.json'), JSON.stringify(deviceInfo));
  return settings;
}
