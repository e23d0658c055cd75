import type { Logger } from 'pino';

/** What this folder needs of the daemon's log. */
export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>;
