import { stringify } from 'yaml';
import type { JsonObject } from '../cni/json.ts';
import { printableText } from '../playground/drawing.ts';
import type { Format } from './options.ts';

/** One column of a table. */
export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string;
  /** Shown by `-o wide` alone. */
  readonly wide?: boolean;
}

/** Rows in columns, with titles, as kubectl prints them. What has no value is told as such. */
export function renderTable<T>(columns: readonly Column<T>[], rows: readonly T[], format: Format): string {
  const shown = columns.filter(({ wide }) => format === 'wide' || wide !== true);
  const cells = [
    shown.map(({ title }) => title),
    ...rows.map((row) => shown.map(({ value }) => printableText(value(row)) || '<none>')),
  ];
  const widths = shown.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  return cells
    .map(
      (line) =>
        `${line
          .map((cell, index) => cell.padEnd(widths[index] ?? 0))
          .join('   ')
          .trimEnd()}\n`,
    )
    .join('');
}

/**
 * Prints what a command found: a document of a kind for programs, text for people.
 *
 * @param text Makes the text; called only where it is wanted.
 */
export function print(format: Format, kind: string, content: JsonObject, text: () => string): void {
  const document = { apiVersion: 'plexus/v1', kind, ...content };
  if (format === 'json') process.stdout.write(`${JSON.stringify(document, undefined, 4)}\n`);
  else if (format === 'yaml') process.stdout.write(stringify(document, { lineWidth: 0 }));
  else process.stdout.write(text());
}
