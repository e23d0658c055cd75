import type { Format } from '../options.ts';
import { type Column, print, renderTable } from '../output.ts';

/** One network of a running pod that was attached or detached. */
export interface ChangeRow {
  /** `namespace/name` */
  readonly pod: string;
  /** Absent where it has none, or is not known yet. */
  readonly interface?: string | undefined;
  /** `namespace/name` */
  readonly network: string;
  readonly addresses?: readonly string[] | undefined;
  /** `requested`: the annotation says so, and the daemon was not waited for. `held`: detached, whatever the annotation says. */
  readonly state: 'attached' | 'detached' | 'held' | 'requested';
}

const columns: readonly Column<ChangeRow>[] = [
  { title: 'POD', value: ({ pod }) => pod },
  { title: 'INTERFACE', value: (row) => row.interface ?? '' },
  { title: 'NETWORK', value: ({ network }) => network },
  { title: 'STATE', value: ({ state }) => state },
  { title: 'ADDRESSES', value: ({ addresses }) => addresses?.join(',') ?? '', wide: true },
];

/** The fields of the document are described in docs/commands.md. */
export function printChange(row: ChangeRow, format: Format): void {
  print(format, 'AttachmentChangeList', { items: [{ ...row }] }, () => renderTable(columns, [row], format));
}
