import type { JsonObject } from '../../cni/json.ts';
import type { Compared } from '../../observe/compare.ts';
import { podOf } from '../../observe/pod-of.ts';
import type { Format } from '../options.ts';
import { type Column, renderTable } from '../output.ts';
import type { Unreadable } from '../sandboxes.ts';
import type { Spool, Spooled } from '../spooled.ts';

/** What `plexus status` found. */
export interface StatusReport {
  readonly attachments: readonly Compared[];
  readonly unreadable: readonly Unreadable[];
  readonly spool: Spool;
}

/** What waits for the daemon is no difference: it knows of it. */
export const isAsItShouldBe = ({ attachments, unreadable, spool }: StatusReport): boolean =>
  unreadable.length === 0 &&
  spool.setAside.length === 0 &&
  attachments.every(({ differences }) => differences.length === 0);

/** For programs. The fields are described in docs/commands.md. */
export function statusDocument({ attachments, unreadable, spool }: StatusReport): JsonObject {
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
    spooled: spool.waiting.map(({ command, plugin, pod, containerId, ifName, since }) => ({
      command,
      plugin,
      pod,
      containerId,
      interface: ifName,
      since: since?.toISOString(),
    })),
    setAside: [...spool.setAside],
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
  const { attachments, unreadable, spool } = report;
  const table = attachments.length === 0 ? 'Nothing is attached.\n' : renderTable(columns, attachments, format);
  const remarks = [
    ...attachments.flatMap(({ entry, planned, differences }) =>
      differences.map((text) => `${podOf(entry) ?? entry.plan.containerId} ${planned.ifName}: ${text}`),
    ),
    ...unreadable.map(({ message }) => message),
    ...spool.setAside.map((path) => `${path}: the daemon could make no sense of it; its log says why`),
  ];
  const lines = [
    ...remarks.map((text) => `DIFFERS  ${plain(text)}\n`),
    ...spool.waiting.map((each) => `WAITS    ${plain(spooledText(each))}\n`),
  ];
  return [table, ...(lines.length > 0 ? ['\n', ...lines] : [])].join('');
}

function spooledText({ command, plugin, pod, containerId, ifName, since }: Spooled): string {
  const when = since === undefined ? '' : ` since ${since.toISOString()}`;
  return `${pod ?? containerId} ${ifName}: ${command} of ${plugin}, for a daemon to carry out${when}`;
}

/** Messages come from files and from other programs: none may draw lines of its own. */
const plain = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ');
