import { createReadStream, createWriteStream, writeSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, unlink } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';

/** How a log file is kept small. */
export interface Rotation {
  /** Bytes after which the file becomes a backup and another begins. */
  readonly maxBytes: number;
  /** Days after which a backup is removed; 0: never. */
  readonly maxAge: number;
  /** Backups that are kept; 0: all. */
  readonly maxBackups: number;
  /** Whether backups are compressed with gzip. */
  readonly compress: boolean;
}

export interface LogFileOptions extends Rotation {
  readonly path: string;
  /** Characters that may wait for a slow disk. Beyond that, lines are dropped. */
  readonly maxBehind: number;
  /** Told of what goes wrong with the file, once until it goes well again. */
  readonly tell: (error: unknown) => void;
}

const dayMs = 86_400_000;

/** A backup that is being compressed. */
const unfinished = '.unfinished';

/** Opened for its owner alone, to go on where it ended. */
const openLog = (path: string): Promise<FileHandle> => open(path, 'a', 0o600);

/**
 * A log file that is rotated as Multus' is: `a.log` becomes `a-2026-01-31T12-00-00.000.log`, then `.log.gz`. Nobody waits
 * for the disk. No line is lost by a rotation; those that a full disk refuses are.
 *
 * It is not pino's own destination, which tries for ever where a disk is full: the process would not end.
 */
export class LogFile {
  readonly #options: LogFileOptions;
  #file: FileHandle;
  #size: number;
  #waiting: string[] = [];
  #waitingLength = 0;
  #isFailing = false;
  /** When the newest backup became one, in milliseconds since 1970. */
  #rotatedAt = 0;
  /** What is done with the file, one after the other. */
  #work: Promise<void> = Promise.resolve();
  /** What is done with backups. */
  #tidying: Promise<void>;

  private constructor(options: LogFileOptions, file: FileHandle, size: number) {
    this.#options = options;
    this.#file = file;
    this.#size = size;
    this.#tidying = this.#tidy().catch(options.tell);
  }

  /**
   * Opens the file, and makes its directory if need be.
   *
   * @throws {Error} of the disk.
   */
  static async open(options: LogFileOptions): Promise<LogFile> {
    await mkdir(dirname(options.path), { recursive: true });
    const file = await openLog(options.path);
    return new LogFile(options, file, (await file.stat()).size);
  }

  write(line: string): void {
    if (this.#waitingLength + line.length > this.#options.maxBehind) return;
    this.#waitingLength += line.length;
    if (this.#waiting.push(line) === 1) this.#then(() => this.#writeWaiting());
  }

  /** Writes what still waits before the process ends; there is no more time for anything else. */
  flushSync(): void {
    const text = this.#takeWaiting();
    try {
      if (text !== '') writeSync(this.#file.fd, text);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Goes on in a file of the same name, for whoever moved this one away. */
  reopen(): void {
    this.#then(() => this.#reopen());
  }

  /** Fulfilled once all that has begun is done: lines, rotations, and the tidying after them. */
  async settled(): Promise<void> {
    await this.#work;
    await this.#tidying;
  }

  /** Ends it once all has been written. */
  async close(): Promise<void> {
    await this.settled();
    await this.#file.close();
  }

  async #writeWaiting(): Promise<void> {
    const text = this.#takeWaiting();
    if (text === '') return;
    await this.#file.appendFile(text);
    this.#size += Buffer.byteLength(text);
    if (this.#size >= this.#options.maxBytes) await this.#rotate();
    this.#isFailing = false;
  }

  async #rotate(): Promise<void> {
    // Two in one millisecond would have one name, and the second would take the first one's place.
    this.#rotatedAt = Math.max(Date.now(), this.#rotatedAt + 1);
    await rename(this.#options.path, this.#backupName(new Date(this.#rotatedAt)));
    await this.#reopen();
    this.#tidying = this.#tidying.then(() => this.#tidy()).catch(this.#options.tell);
  }

  #takeWaiting(): string {
    const text = this.#waiting.join('');
    this.#waiting = [];
    this.#waitingLength = 0;
    return text;
  }

  async #reopen(): Promise<void> {
    const former = this.#file;
    this.#file = await openLog(this.#options.path);
    this.#size = (await this.#file.stat()).size;
    await former.close();
  }

  #then(task: () => Promise<void>): void {
    this.#work = this.#work.then(task).catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#options.tell(error);
  }

  #backupName(time: Date): string {
    const { path } = this.#options;
    const extension = extname(path);
    const stamp = time.toISOString().replaceAll(':', '-').replace('Z', '');
    return join(dirname(path), `${basename(path, extension)}-${stamp}${extension}`);
  }

  /** Removes backups that are too many or too old, and compresses the others. */
  async #tidy(): Promise<void> {
    const { path, maxAge, maxBackups, compress } = this.#options;
    const backups = backupsOf(path, await readdir(dirname(path)));
    for (const [index, { name, at }] of backups.entries()) {
      const file = join(dirname(path), name);
      const isTooOld = maxAge > 0 && Date.now() - at > maxAge * dayMs;
      if ((maxBackups > 0 && index >= maxBackups) || isTooOld) await unlink(file);
      else if (compress && !name.endsWith('.gz')) await compressFile(file);
    }
  }
}

interface Backup {
  readonly name: string;
  /** When it became one, in milliseconds since 1970. */
  readonly at: number;
}

/** The newest first. */
function backupsOf(path: string, names: readonly string[]): Backup[] {
  const extension = extname(path);
  const prefix = `${basename(path, extension)}-`;
  const backups = names.flatMap((name) => {
    if (!name.startsWith(prefix)) return [];
    const rest = name.slice(prefix.length);
    const match = /^(\d{4}-\d\d-\d\dT\d\d)-(\d\d)-(\d\d\.\d{3})(.*)$/.exec(rest);
    if (match === null || ![extension, `${extension}.gz`].includes(match[4] ?? '')) return [];
    return [{ name, at: Date.parse(`${match[1]}:${match[2]}:${match[3]}Z`) }];
  });
  return backups.sort((one, other) => other.at - one.at);
}

async function compressFile(file: string): Promise<void> {
  const temporary = `${file}.gz${unfinished}`;
  await pipeline(createReadStream(file), createGzip(), createWriteStream(temporary, { mode: 0o600 }));
  await rename(temporary, `${file}.gz`);
  await unlink(file);
}
