import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureCommands } from '../../tools/debian.ts';
import { testDirectory } from './directory.ts';

export interface ServerOptions {
  /** First and last address. */
  readonly range?: readonly [string, string];
  /** More of dnsmasq(8)'s options. */
  readonly options?: readonly string[];
}

/** Debian's dnsmasq as the DHCP server of a namespace. */
export class DhcpServer implements AsyncDisposable {
  readonly #namespace: string;
  readonly #interface: string;
  readonly #directory: Awaited<ReturnType<typeof testDirectory>>;
  #process: ChildProcess | undefined;
  /** What it wrote down: `DHCPACK(srv) 10.5.0.10 ...`. */
  log = '';

  private constructor(namespace: string, name: string, directory: Awaited<ReturnType<typeof testDirectory>>) {
    this.#namespace = namespace;
    this.#interface = name;
    this.#directory = directory;
  }

  /**
   * @param namespace Path of the one that it is in.
   * @param name The interface it serves, which has an address.
   */
  static async start(namespace: string, name: string, options: ServerOptions = {}): Promise<DhcpServer> {
    await ensureCommands(['dnsmasq']);
    const server = new DhcpServer(namespace, name, await testDirectory());
    await server.start(options);
    return server;
  }

  /** Starts it again; it knows the leases of before. */
  async start({ range = ['10.5.0.10', '10.5.0.20'], options = [] }: ServerOptions = {}): Promise<void> {
    const args = [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--port=0',
      `--interface=${this.#interface}`,
      '--bind-interfaces',
      '--no-ping',
      '--log-dhcp',
      '--log-facility=-',
      '--pid-file=',
      '--user=root',
      `--dhcp-leasefile=${join(this.#directory.path, 'leases')}`,
      `--dhcp-range=${range.join(',')},2m`,
      ...options,
    ];
    const from = this.log.length;
    const child = spawn('nsenter', [`--net=${this.#namespace}`, 'dnsmasq', ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
    });
    await this.logged(/sockets bound exclusively/, from);
  }

  /** Waits for a line in what it wrote, of which it may have some already. */
  async logged(line: RegExp, from = 0): Promise<void> {
    for (let waited = 0; !line.test(this.log.slice(from)); waited += 10) {
      if (waited > 15_000) throw new Error(`dnsmasq did not write ${line}: ${this.log}`);
      await sleep(10);
    }
  }

  /** Kills it: whatever it is asked, nobody answers. */
  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** What it has given away: address and client identifier, in hexadecimal digits. */
  async leases(): Promise<string[]> {
    const text = await readFile(join(this.#directory.path, 'leases'), 'utf8').catch(() => '');
    const lines = text.split('\n').map((line) => line.split(' '));
    return lines.flatMap(([, , address, , identifier]) =>
      identifier === undefined ? [] : [`${address} ${identifier}`],
    );
  }

  /** Has it forget all leases. To be called while it is stopped. */
  async forget(): Promise<void> {
    await rm(join(this.#directory.path, 'leases'), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#directory[Symbol.asyncDispose]();
  }
}
