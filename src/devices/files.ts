import { mkdir, readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { devicePluginFile } from '../attach/device-info.ts';
import type { JsonObject } from '../cni/json.ts';
import { removeFile, writeAtomically } from '../linux/atomic-file.ts';
import { isDeviceName } from '../linux/sysfs.ts';
import { givenFor } from './allocation.ts';
import type { Resource } from './config.ts';
import type { Offer, Offered } from './offer.ts';

/* What others on the node find written of devices: device information for network plugins, CDI for container runtimes. */

/**
 * Writes what there is to know of each device of a resource, and removes what was written of devices that it no longer
 * has (device information specification 1.1.0, section 4.1).
 *
 * @param directory Above dp and cni.
 */
export async function writeDeviceInfo(directory: string, resource: Resource, offer: Offer): Promise<void> {
  const usable = [...offer.values()].filter(({ fault }) => fault === undefined);
  const wanted = new Map(
    usable.map((each) => [devicePluginFile(directory, resource.fullName, each.device.id), deviceInfo(each)] as const),
  );
  await mkdir(join(directory, 'dp'), { recursive: true, mode: 0o755 });
  for (const path of await writtenFor(directory, resource)) if (!wanted.has(path)) await removeFile(path);
  for (const [path, info] of wanted) await replace(path, JSON.stringify(info), 0o644);
}

/** Removes what was written of all devices of a resource. */
export async function removeDeviceInfo(directory: string, resource: Resource): Promise<void> {
  for (const path of await writtenFor(directory, resource)) await removeFile(path);
}

/** What is between the resource and the end must be an id: the name of one resource can begin that of another. */
async function writtenFor(directory: string, { fullName }: Resource): Promise<string[]> {
  const end = '-device.json';
  const [before = ''] = basename(devicePluginFile(directory, fullName, '')).split(end);
  const names = await readdir(join(directory, 'dp')).catch(() => []);
  return names
    .filter((name) => name.startsWith(before) && name.endsWith(end))
    .filter((name) => isId(name.slice(before.length, -end.length)))
    .map((name) => join(directory, 'dp', name));
}

const isId = (text: string): boolean => isDeviceName('pci', text) || isDeviceName('auxiliary', text);

function deviceInfo({ device, selector }: Offered): JsonObject {
  const address = { 'pci-address': device.pciAddress };
  const version = '1.1.0';
  const { vdpa, rdma } = device;
  if (selector.vdpaType !== undefined && vdpa !== undefined) {
    const { name, type = 'vhost', file } = vdpa;
    return {
      type: 'vdpa',
      version,
      vdpa: { 'parent-device': name, driver: type, ...(file && { path: file }), ...address },
    };
  }
  const rdmaDevice = selector.isRdma && rdma?.names[0];
  return { type: 'pci', version, pci: { ...address, ...(rdmaDevice && { 'rdma-device': rdmaDevice }) } };
}

/** CDI's vendor and class (its SPEC.md): a class begins with a letter, and ends with one or a digit. */
const cdiKind = ({ prefix, name }: Resource): string => `${prefix}/net-${name}`;

/** By which a container runtime finds a device. */
export const cdiName = (resource: Resource, id: string): string => `${cdiKind(resource)}=${id}`;

const cdiPrefix = 'plexus-';
const cdiFile = ({ prefix, name }: Resource): string => `${cdiPrefix}${prefix}-${name}.json`;

/**
 * Writes for container runtimes what a container is to get with each device of a resource. A device of which that is
 * nothing has no place there.
 *
 * @param directory Where they look, such as /var/run/cdi.
 */
export async function writeCdi(directory: string, resource: Resource, offer: Offer, hasRdmaCm: boolean): Promise<void> {
  const devices = [...offer.values()].flatMap((offered) => {
    const { files } = givenFor(offered, resource, hasRdmaCm);
    if (files.length === 0) return [];
    const deviceNodes = files.map(({ hostPath, containerPath, permissions }) => ({
      path: containerPath,
      hostPath,
      permissions,
    }));
    return [{ name: offered.device.id, containerEdits: { deviceNodes } }];
  });
  const path = join(directory, cdiFile(resource));
  if (devices.length === 0) return removeFile(path);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await replace(path, JSON.stringify({ cdiVersion: '0.5.0', kind: cdiKind(resource), devices }), 0o644);
}

/** Removes what is left of resources that are no longer configured, or of a configuration without CDI. */
export async function removeOtherCdi(directory: string, resources: readonly Resource[]): Promise<void> {
  const wanted = new Set(resources.map(cdiFile));
  for (const name of await readdir(directory).catch(() => [])) {
    if (name.startsWith(cdiPrefix) && name.endsWith('.json') && !wanted.has(name))
      await removeFile(join(directory, name));
  }
}

/** Whoever reads it finds the old content or the new. What is the same already stays untouched. */
async function replace(path: string, content: string, mode: number): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === content) return;
  await writeAtomically(path, content, mode);
}
