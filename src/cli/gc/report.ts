import type { JsonObject } from '../../cni/json.ts';
import type { Entry } from '../../journal/entry.ts';
import { podOf } from '../../observe/pod-of.ts';
import type { Format } from '../options.ts';
import { type Column, renderTable } from '../output.ts';
import type { Unreadable } from '../sandboxes.ts';
import type { StrayAddress } from './stale.ts';

/** A sandbox whose namespace is gone. */
export interface Collected {
  readonly entry: Entry;
  /** `stale` where it was left as it is; `held` where it could not be released. */
  readonly state: 'stale' | 'released' | 'held';
  /** Why it is still held. */
  readonly message?: string;
}

/** What `plexus gc` found and did. */
export interface GcReport {
  readonly sandboxes: readonly Collected[];
  readonly addresses: readonly StrayAddress[];
  readonly unreadable: readonly Unreadable[];
}

/** For programs. The fields are described in docs/commands.md. */
export function gcDocument({ sandboxes, addresses, unreadable }: GcReport): JsonObject {
  return {
    items: sandboxes.map(({ entry, state, message }) => ({
      pod: podOf(entry),
      containerId: entry.plan.containerId,
      interface: entry.plan.ifName,
      netns: entry.plan.netns,
      networks: networksOf(entry),
      state,
      message,
    })),
    addresses: addresses.map((each) => ({ ...each })),
    unreadable: unreadable.map(({ path, message }) => ({ path, message })),
  };
}

const networksOf = ({ plan, deleted }: Entry): string[] =>
  plan.attachments.filter(({ ifName }) => !deleted.has(ifName)).map(({ network }) => network);

const sandboxColumns: readonly Column<Collected>[] = [
  { title: 'POD', value: ({ entry }) => podOf(entry) ?? '' },
  { title: 'CONTAINER', value: ({ entry }) => entry.plan.containerId.slice(0, 13) },
  { title: 'NETWORKS', value: ({ entry }) => networksOf(entry).join(',') },
  { title: 'STATE', value: ({ state }) => state },
  { title: 'CONTAINER ID', value: ({ entry }) => entry.plan.containerId, wide: true },
  { title: 'NAMESPACE', value: ({ entry }) => entry.plan.netns, wide: true },
];

const addressColumns: readonly Column<StrayAddress>[] = [
  { title: 'ADDRESS', value: ({ address }) => address },
  { title: 'DIRECTORY', value: ({ directory }) => directory },
  { title: 'KEPT FOR', value: ({ owner }) => owner },
];

/** For people. */
export function renderGc({ sandboxes, addresses, unreadable }: GcReport, format: Format): string {
  const table =
    sandboxes.length === 0
      ? 'The journal has no sandbox whose namespace is gone.\n'
      : renderTable(sandboxColumns, sandboxes, format);
  const strays =
    addresses.length === 0
      ? []
      : [
          '\nAddresses of nobody that the journal knows; they are left alone:\n',
          renderTable(addressColumns, addresses, format),
        ];
  const held = sandboxes.flatMap(({ entry, message }) =>
    message === undefined ? [] : [`${podOf(entry) ?? entry.plan.containerId}: ${message}`],
  );
  const lines = [...held, ...unreadable.map(({ message }) => message)];
  // Messages come from files and from other programs: none may draw lines of its own.
  const remarks = lines.map((text) => `HELD  ${text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')}\n`);
  return [table, ...strays, ...(remarks.length > 0 ? ['\n', ...remarks] : [])].join('');
}
