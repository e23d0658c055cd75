import { type Level, type Logger, pino } from 'pino';
import type { DaemonConfig } from './config.ts';
import { LogFile } from './log-file.ts';

export type { Logger };

/** Multus' names, and what they are here. */
const levels: Readonly<Record<DaemonConfig['logLevel'], Level>> = {
  debug: 'debug',
  verbose: 'info',
  info: 'info',
  warn: 'warn',
  error: 'error',
  panic: 'fatal',
};

/** Characters that wait for a reader who has fallen behind. Beyond that, lines are dropped. */
const maxBehind = 4 << 20;

const megabyte = 1 << 20;

export interface DaemonLog {
  readonly log: Logger;
  /** Goes on in a new log file of the same name, for whoever moved it away. Absent where there is none. */
  readonly reopen?: () => void;
  /** Fulfilled once all lines are in the log file. */
  settled(): Promise<void>;
}

type LogConfig = Pick<DaemonConfig, 'logLevel' | 'logFile' | 'logToStderr' | 'logOptions'>;

/**
 * A logger that writes one JSON object a line: to the log file where there is one, and to standard error where there is
 * none, or it is asked for as well. Nobody waits for the writing. A file that cannot be opened is told, and standard error
 * takes its place: a node does not go without networks for that.
 */
export async function createLog({ logLevel, logFile, logToStderr, logOptions }: LogConfig): Promise<DaemonLog> {
  const level = levels[logLevel];
  const stderr = pino.destination({ dest: 2, sync: false, minLength: 0, maxLength: maxBehind });
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  const onStderr = pino(options, stderr);
  if (logFile === undefined) return { log: onStderr, settled: async () => {} };
  try {
    const file = await LogFile.open({
      path: logFile,
      ...logOptions,
      // Multus takes 0 for its default.
      maxBytes: (logOptions.maxSize || 100) * megabyte,
      maxBehind,
      tell: (error) => onStderr.error({ err: error, logFile }, 'the log file cannot be written or rotated'),
    });
    process.once('exit', () => file.flushSync());
    const streams = [{ level, stream: file }, ...(logToStderr ? [{ level, stream: stderr }] : [])];
    const log = pino(options, pino.multistream(streams));
    return { log, reopen: () => file.reopen(), settled: () => file.settled() };
  } catch (error) {
    onStderr.error({ err: error, logFile }, 'the log file cannot be opened: the log goes to standard error');
    return { log: onStderr, settled: async () => {} };
  }
}
