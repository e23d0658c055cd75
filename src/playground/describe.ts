import { at, type KubernetesObject, textAt } from './api/object.ts';
import { humanDuration } from './api/table.ts';
import { printableText } from './drawing.ts';

/**
 * Events as `kubectl describe` shows them, the oldest first (kubernetes/kubectl, pkg/describe, DescribeEvents).
 *
 * @param now Milliseconds since 1970.
 */
export function describeEvents(events: readonly KubernetesObject[], now: number): string[] {
  if (events.length === 0) return ['<none>'];
  // Times are whole seconds; names end in the nanosecond, and lists come ordered by name.
  const sorted = events.toSorted((a, b) => lastTime(a) - lastTime(b));
  return table(
    ['Type', 'Reason', 'Age', 'From', 'Message'],
    sorted.map((event) => [
      textAt(event, 'type'),
      textAt(event, 'reason'),
      age(event, now),
      textAt(event, 'source.component') || textAt(event, 'reportingComponent'),
      textAt(event, 'message').trim(),
    ]),
  );
}

const lastTime = (event: KubernetesObject): number => Date.parse(textAt(event, 'lastTimestamp')) || 0;

function age(event: KubernetesObject, now: number): string {
  const last = humanDuration(now - lastTime(event));
  const count = Number(at(event, 'count') ?? 1);
  const first = now - Date.parse(textAt(event, 'firstTimestamp'));
  return count > 1 ? `${last} (x${count} over ${humanDuration(first)})` : last;
}

/** Columns under their names and at least four dashes, two spaces apart, as kubectl has them. */
export function table(names: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const printable = rows.map((row) => row.map(printableText));
  const all = [names, names.map((name) => '-'.repeat(Math.max(4, name.length))), ...printable];
  const widths = names.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
