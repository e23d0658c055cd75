import { Rtnetlink } from '../../linux/rtnetlink.ts';
import { hasDevice, isDeviceName, sysfsRoot } from '../../linux/sysfs.ts';
import { findDevice } from '../../plugins/sriov/device.ts';
import { type Finding, fine, lacking, messageOf } from './finding.ts';
import type { UsedNetwork } from './networks.ts';

const remedy = "correct it in the configuration; or name a resource of a device plugin, which knows the node's devices";

/** Looks for the PCI devices that networks name themselves; those of resources are for the device plugin. */
export async function checkNamedDevices(
  networks: readonly UsedNetwork[],
  sysfs: string = sysfsRoot,
): Promise<Finding[]> {
  using netlink = Rtnetlink.open();
  const findings: Finding[] = [];
  for (const { name, list } of networks) {
    for (const { type, deviceID, pciBusID } of list.plugins) {
      const id = type === 'sriov' ? deviceID : type === 'host-device' ? pciBusID : undefined;
      if (typeof id !== 'string' || !isDeviceName('pci', id)) continue;
      const problem = type === 'sriov' ? await functionProblem(netlink, id, sysfs) : await deviceProblem(id, sysfs);
      const found = fine('device', `${id} is there`);
      findings.push(problem === undefined ? found : lacking('device', `${name}: ${problem}`, remedy));
    }
  }
  return findings;
}

async function functionProblem(netlink: Rtnetlink, id: string, sysfs: string): Promise<string | undefined> {
  try {
    await findDevice(netlink, id, sysfs);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function deviceProblem(id: string, sysfs: string): Promise<string | undefined> {
  return (await hasDevice('pci', id, sysfs)) ? undefined : `this node has no PCI device ${id}`;
}
