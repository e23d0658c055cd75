import { join } from 'node:path';

/* What a device's directory in sysfs(5) tells of files below /dev. */

/** RDMA devices of a device, and the character devices that programs use them by. */
export interface Rdma {
  /** Such as `mlx5_2`. */
  readonly names: readonly string[];
  /** Paths, such as /dev/infiniband/uverbs2. */
  readonly files: readonly string[];
}

export interface Reading {
  /** None where there is no such directory. */
  namesIn(directory: string): readonly string[];
  textOf(file: string): string | undefined;
  targetOf(link: string): string | undefined;
}

/** @param entries Names in the directory. */
export function deviceFiles(directory: string, entries: ReadonlySet<string>, reading: Reading) {
  const { namesIn, textOf, targetOf } = reading;
  const namesFrom = (name: string): readonly string[] => (entries.has(name) ? namesIn(join(directory, name)) : []);
  const names = namesFrom('infiniband');
  const [first] = names;
  const files = [...namesFrom('infiniband_verbs'), ...namesFrom('infiniband_mad')];
  const group = entries.has('iommu_group') ? targetOf(join(directory, 'iommu_group')) : undefined;
  return {
    rdma: first === undefined ? undefined : { names, files: files.map((name) => `/dev/infiniband/${name}`) },
    pKey: first && textOf(join(directory, 'infiniband', first, 'ports/1/pkeys/0'))?.toLowerCase(),
    iommuGroup:
      group === undefined
        ? undefined
        : {
            number: group,
            isMissingIommu: textOf(join(directory, 'iommu_group/name')) === 'vfio-noiommu',
          },
    uio: namesFrom('uio')[0],
  };
}
