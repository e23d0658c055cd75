import type { JsonObject } from '../../cni/json.ts';
import type { Candidate } from '../../devices/select.ts';
import type { Format } from '../options.ts';
import { type Column, renderTable } from '../output.ts';
import type { DevicesReport } from './look.ts';

/** For programs. The fields are described in docs/commands.md. */
export function devicesDocument({ candidates, configFile, problems, unknown }: DevicesReport): JsonObject {
  return {
    items: candidates.map(({ device, taken, why }) => {
      const { id, type, pciAddress, vendor, driver, numaNode, interfaces, linkType, pf, isVf, index, vfs } = device;
      return {
        id,
        type,
        pciAddress,
        vendor,
        device: device.device,
        driver,
        numaNode,
        interfaces: [...interfaces],
        linkType,
        physicalFunction: { pciAddress: pf.address, interface: pf.interface },
        vf: isVf ? index : undefined,
        vfs,
        rdma: device.rdma && [...device.rdma.names],
        vdpa: device.vdpa?.type,
        resource: taken?.resource.fullName,
        reason: why,
      };
    }),
    config: configFile,
    problems: [...problems],
    unknown: [...unknown],
  };
}

const columns: readonly Column<Candidate>[] = [
  { title: 'DEVICE', value: ({ device }) => device.id },
  { title: 'ID', value: ({ device }) => `${device.vendor}:${device.device}` },
  { title: 'DRIVER', value: ({ device }) => device.driver ?? '' },
  { title: 'INTERFACE', value: ({ device }) => device.interfaces.join(',') },
  { title: 'VFS', value: ({ device }) => vfsOf(device) },
  { title: 'NUMA', value: ({ device }) => String(device.numaNode ?? '') },
  { title: 'TYPE', value: ({ device }) => device.type, wide: true },
  { title: 'LINK', value: ({ device }) => device.linkType ?? '', wide: true },
  { title: 'RDMA', value: ({ device }) => device.rdma?.names.join(',') ?? '', wide: true },
  { title: 'VDPA', value: ({ device }) => device.vdpa?.type ?? '', wide: true },
  { title: 'IOMMU GROUP', value: ({ device }) => device.iommuGroup?.number ?? '', wide: true },
  { title: 'RESOURCE', value: ({ taken }) => taken?.resource.fullName ?? '' },
];

/** Of a physical function, how many there are; of a VF, which of whose it is. */
function vfsOf({ isVf, index, vfs, pf }: Candidate['device']): string {
  if (isVf) return `${index ?? '?'} of ${pf.interface ?? pf.address}`;
  return String(vfs);
}

/** For people. */
export function renderDevices({ candidates, problems, unknown, configFile }: DevicesReport, format: Format): string {
  const table =
    candidates.length === 0
      ? 'This node has no network card and no accelerator on its PCI bus.\n'
      : renderTable(columns, candidates, format);
  const left = candidates.flatMap(({ device, why }) => (why === undefined ? [] : [`LEFT OUT  ${device.id}: ${why}`]));
  const wrong = [
    ...problems.map((problem) => `PROBLEM   ${problem}`),
    ...(unknown.length > 0 ? [`UNKNOWN   ${configFile}: nobody knows ${unknown.join(', ')}`] : []),
  ];
  // Reasons and messages hold names from files and from the kernel: none may draw lines of its own.
  const lines = [...left, ...wrong].map((line) => `${line.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')}\n`);
  return [table, ...(lines.length > 0 ? ['\n', ...lines] : [])].join('');
}
