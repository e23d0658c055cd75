import { pino } from 'pino';
import type { Logger } from '../../src/daemon/log.ts';

export type LogLine = Readonly<Record<string, unknown>>;

/** A log that is kept, each line as it is read again. */
export function keptLog(): { readonly log: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const log = pino({ level: 'debug', base: null, timestamp: false }, { write: (line) => lines.push(JSON.parse(line)) });
  return { log, lines };
}
