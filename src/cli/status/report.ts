import type { JsonObject } from '../../cni/json.ts';
import type { Format } from '../options.ts';
import { type Column, renderTable } from '../output.ts';
import { podOf, type Unreadable } from '../sandboxes.ts';
import type { Compared } from './compare.ts';

/** What `plexus status` found. */
export interface StatusReport {
  readonly attachments: readonly Compared[];
  readonly unreadable: readonly Unreadable[];
}

export const isAsItShouldBe = ({ attachments, unreadable }: StatusReport): boolean =>
  unreadable.length === 0 && attachments.every(({ differences }) => differences.length === 0);

/** For programs. The fields are described in docs/commands.md. */
export function statusDocument({ attachments, unreadable }: StatusReport): JsonObject {
  return {
    items: attachments.map(({ entry, planned, plugins, wanted, found, differences }) => ({
      pod: podOf(entry),
      containerId: entry.plan.containerId,
      netns: entry.plan.netns,
      plannedAt: new Date(entry.plan.plannedAt).toISOString(),
      interface: planned.ifName,
      network: planned.network,
      default: planned.isDefault,
      plugins,
      wanted: wanted && { ...wanted },
      found: found && { ...found },
      differences,
    })),
    unreadable: unreadable.map(({ path, message }) => ({ path, message })),
  };
}

const columns: readonly Column<Compared>[] = [
  { title: 'POD', value: ({ entry }) => podOf(entry) ?? '' },
  { title: 'INTERFACE', value: ({ planned }) => planned.ifName },
  { title: 'NETWORK', value: ({ planned }) => planned.network },
  { title: 'MAC', value: ({ wanted, found }) => found?.mac ?? wanted?.mac ?? '' },
  { title: 'ADDRESSES', value: ({ wanted }) => wanted?.addresses.join(',') ?? '' },
  { title: 'STATE', value: ({ differences }) => (differences.length === 0 ? 'ok' : 'DIFFERS') },
  { title: 'PLUGINS', value: ({ plugins }) => plugins.join(','), wide: true },
  { title: 'MTU', value: ({ found }) => found?.mtu.toString() ?? '', wide: true },
  { title: 'SINCE', value: ({ entry }) => new Date(entry.plan.plannedAt).toISOString(), wide: true },
  { title: 'CONTAINER', value: ({ entry }) => entry.plan.containerId, wide: true },
  { title: 'NAMESPACE', value: ({ entry }) => entry.plan.netns, wide: true },
];

/** For people: a table, and below it what differs. */
export function renderStatus(report: StatusReport, format: Format): string {
  const { attachments, unreadable } = report;
  const table = attachments.length === 0 ? 'Nothing is attached.\n' : renderTable(columns, attachments, format);
  const remarks = [
    ...attachments.flatMap(({ entry, planned, differences }) =>
      differences.map((text) => `${podOf(entry) ?? entry.plan.containerId} ${planned.ifName}: ${text}`),
    ),
    ...unreadable.map(({ message }) => message),
  ];
  // Messages come from files and from other programs: none may draw lines of its own.
  const lines = remarks.map((text) => `DIFFERS  ${text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')}\n`);
  return [table, ...(lines.length > 0 ? ['\n', ...lines] : [])].join('');
}
