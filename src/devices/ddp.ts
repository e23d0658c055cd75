import { Devlink } from '../linux/devlink.ts';
import type { Resource } from './config.ts';
import type { Device, Hardware } from './discover.ts';

/** The generic name of what is loaded into a card beside its firmware. */
const profileName = 'fw.app.name';

/**
 * Adds the profiles of dynamic device personalization, where a resource selects by them. A card has one, which is that of
 * its VFs.
 *
 * @param profileOf Asks a physical function; the kernel's devlink unless told.
 */
export async function withProfiles(
  hardware: Hardware,
  resources: readonly Resource[],
  profileOf?: (address: string) => Promise<string | undefined>,
): Promise<Hardware> {
  const isWanted = resources.some(({ selectors }) => selectors.some(({ ddpProfiles }) => ddpProfiles.length > 0));
  if (!isWanted) return hardware;
  if (profileOf === undefined) {
    using devlink = new Devlink();
    return await withProfiles(hardware, resources, async (address) =>
      (await devlink.runningVersions('pci', address))?.get(profileName),
    );
  }
  const known = new Map<string, string | undefined>();
  const devices: Device[] = [];
  for (const device of hardware.devices) {
    const { address } = device.pf;
    if (!known.has(address)) known.set(address, await profileOf(address));
    const ddpProfile = known.get(address);
    devices.push(ddpProfile === undefined ? device : { ...device, ddpProfile });
  }
  return { ...hardware, devices };
}
