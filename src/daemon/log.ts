import { type Logger, pino } from 'pino';
import type { DaemonConfig } from './config.ts';

export type { Logger };

/** Multus' names, and what they are here. */
const levels: Readonly<Record<DaemonConfig['logLevel'], string>> = {
  debug: 'debug',
  verbose: 'info',
  info: 'info',
  warn: 'warn',
  error: 'error',
  panic: 'fatal',
};

/** Characters that wait for a reader of standard error who has fallen behind. Beyond that, lines are dropped. */
const maxBehind = 4 << 20;

/**
 * A logger that writes one JSON object a line to standard error, where the container runtime collects it. Nobody waits
 * for the writing.
 */
export function createLog(level: DaemonConfig['logLevel']): Logger {
  const destination = pino.destination({ dest: 2, sync: false, minLength: 0, maxLength: maxBehind });
  return pino({ level: levels[level], base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}
