import type { Resource } from './config.ts';
import type { Hardware } from './discover.ts';
import type { Offered } from './offer.ts';

/** A file below /dev for a container. */
export interface DeviceFile {
  readonly hostPath: string;
  readonly containerPath: string;
  /** Of the letters r, w, m, as the device cgroup has them. */
  readonly permissions: string;
}

/** What a container gets for a device: files, and what the _INFO variable says of it. */
export interface Given {
  readonly files: readonly DeviceFile[];
  readonly info: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const file = (path: string, permissions = 'rw', hostPath = path): DeviceFile => ({
  hostPath,
  containerPath: path,
  permissions,
});

/** Drivers of the sriov-network-device-plugin's list, and the kernel's variants of vfio for single devices. */
const isVfio = (driver: string | undefined): boolean => driver === 'vfio-pci' || /[-_]vfio[-_]pci$/.test(driver ?? '');
const isUio = (driver: string | undefined): boolean => driver === 'igb_uio' || /^uio/.test(driver ?? '');

/** What a container gets for a device of a resource. */
export function givenFor({ device, selector }: Offered, { additionalInfo }: Resource, hasRdmaCm: boolean): Given {
  const { id, driver, iommuGroup, uio, rdma, vdpa } = device;
  const files: DeviceFile[] = [];
  const info: Record<string, Record<string, string>> = { generic: { deviceID: id } };
  if (isVfio(driver)) {
    files.push(file('/dev/vfio/vfio'));
    info['vfio'] = { mount: '/dev/vfio/vfio' };
    if (iommuGroup !== undefined) {
      const path = `/dev/vfio/${iommuGroup.number}`;
      files.push(file(path, 'rw', iommuGroup.isMissingIommu ? `/dev/vfio/noiommu-${iommuGroup.number}` : path));
      info['vfio']['dev-mount'] = path;
    }
  }
  if (isUio(driver) && uio !== undefined) {
    files.push(file(`/dev/${uio}`, 'mrw'));
    info['uio'] = { mount: `/dev/${uio}` };
  }
  const extra = { ...additionalInfo['*'], ...additionalInfo[id] };
  if (Object.keys(extra).length > 0) info['extra'] = extra;
  if (selector.vdpaType !== undefined && vdpa?.type === selector.vdpaType) {
    info['vdpa'] = vdpa.file === undefined ? {} : { mount: vdpa.file };
    if (vdpa.file !== undefined) files.push(file(vdpa.file));
  }
  if (selector.isRdma && rdma !== undefined) {
    const paths = [...rdma.files, ...(hasRdmaCm ? ['/dev/infiniband/rdma_cm'] : [])];
    files.push(...paths.map((path) => file(path)));
    const kinds = paths.map((path) => [/\/(uverbs|umad|issm|rdma_cm)\d*$/.exec(path)?.[1] ?? '', path] as const);
    info['rdma'] = Object.fromEntries([...kinds.filter(([kind]) => kind !== ''), ['rdma_dev', rdma.names[0] ?? '']]);
  }
  if (selector.needVhostNet) {
    files.push(file('/dev/vhost-net'), file('/dev/net/tun'));
    info['vhost'] = { 'net-mount': '/dev/vhost-net', 'tun-mount': '/dev/net/tun' };
  }
  return { files, info };
}

/** What a container gets for its devices of a resource together. */
export interface ContainerDevices {
  readonly files: readonly DeviceFile[];
  readonly environment: Readonly<Record<string, string>>;
}

export function containerDevices(
  resource: Resource,
  devices: readonly Offered[],
  { hasRdmaCm }: Pick<Hardware, 'hasRdmaCm'>,
): ContainerDevices {
  const given = devices.map((each) => [each.device.id, givenFor(each, resource, hasRdmaCm)] as const);
  const files = new Map(given.flatMap(([, { files }]) => files.map((each) => [each.containerPath, each] as const)));
  const name = `PCIDEVICE_${resource.prefix}_${resource.name}`.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
  return {
    files: [...files.values()],
    environment: {
      [name]: given.map(([id]) => id).join(','),
      [`${name}_INFO`]: JSON.stringify(Object.fromEntries(given.map(([id, { info }]) => [id, info]))),
    },
  };
}
