/** One thing that was looked at. */
export interface Finding {
  readonly isFine: boolean;
  /** What was looked at, in a word or two. */
  readonly subject: string;
  /** What was found. */
  readonly text: string;
  /** What to do where it is not fine. */
  readonly remedy?: string;
}

export const fine = (subject: string, text: string): Finding => ({ isFine: true, subject, text });

export const lacking = (subject: string, text: string, remedy: string): Finding => ({
  isFine: false,
  subject,
  text,
  remedy,
});

/** Who needs something, where that may be many. */
export function needers(names: readonly string[]): string {
  const [first = 'nobody', second, ...more] = new Set(names);
  if (second === undefined) return first;
  return more.length === 0 ? `${first} and ${second}` : `${first}, ${second} and ${more.length} more`;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A line for each finding, in columns, and one that counts. */
export function renderFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  const lines = findings.map(({ isFine, subject, text, remedy }) => {
    const line = `${isFine ? 'ok   ' : 'LACKS'}  ${subject.padEnd(width)}  ${text}`;
    // Messages come from files and from the network: none may draw lines of its own.
    return (remedy === undefined ? line : `${line}. To do: ${remedy}`).replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ');
  });
  const count = findings.filter(({ isFine }) => !isFine).length;
  const end =
    count === 0 ? 'Nothing is lacking.' : `Of ${findings.length} things that were looked at, ${count} are lacking.`;
  return `${[...lines, '', end].join('\n')}\n`;
}
