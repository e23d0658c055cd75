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

/** A logger that writes one JSON object a line to standard error, where the container runtime collects it. */
export function createLog(level: DaemonConfig['logLevel']): Logger {
  const destination = pino.destination({ dest: 2, sync: false, minLength: 0 });
  return pino({ level: levels[level], base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}
