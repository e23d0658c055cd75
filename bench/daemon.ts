import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Cpu, cpuOf } from './cpu.ts';

const root = resolve(import.meta.dirname, '..');

/** Of Node, for one who wants a profile: `BENCH_DAEMON_FLAGS=--cpu-prof make bench`. */
const flags = (process.env['BENCH_DAEMON_FLAGS'] ?? '').split(' ').filter((flag) => flag !== '');

/** Without the number of threads that the bench needs: the daemon has its own. */
const { UV_THREADPOOL_SIZE: _threads, ...environment } = process.env;

/** The daemon as a process of its own, as on a node. */
export class DaemonProcess implements AsyncDisposable {
  readonly socket: string;
  readonly #process: ChildProcess;

  private constructor(socket: string, process: ChildProcess) {
    this.socket = socket;
    this.#process = process;
  }

  /**
   * @param directory Of its socket, state and configuration.
   * @param more Keys of its configuration, which has no cluster unless told.
   */
  static async start(directory: string, more: object = {}): Promise<DaemonProcess> {
    const file = join(directory, 'daemon.json');
    const config = {
      socketDir: join(directory, 'run'),
      stateDir: join(directory, 'state'),
      cluster: false,
      metricsPort: 0,
      ...more,
    };
    await writeFile(file, JSON.stringify(config));
    const child = spawn(process.execPath, [...flags, join(root, 'build/plexus.cjs'), 'daemon', '--config', file], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment,
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let log = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (log.length < 65_536) log += chunk;
      if (log.includes('"msg":"ready"')) resolve();
    });
    child.once('exit', () => reject(new Error(`the daemon ended:\n${log}`)));
    await promise;
    return new DaemonProcess(join(config.socketDir, 'plexus.sock'), child);
  }

  /** Resident memory in MB (10^6 bytes), from proc_pid_status(5). */
  async residentMemory(): Promise<number> {
    const status = await readFile(`/proc/${this.#process.pid}/status`, 'utf8');
    return (Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024) / 1e6;
  }

  async cpu(): Promise<Cpu> {
    return cpuOf(this.#process.pid ?? Number.NaN);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill('SIGTERM');
    await once(this.#process, 'exit');
  }
}
