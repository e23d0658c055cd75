import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { ensureCommands } from '../../tools/debian.ts';
import { debianKernel } from '../../tools/kernel.ts';
import { makeInitrd } from './initrd.ts';

/*
 * A virtual machine with Debian's kernel on the files of this one: read-only, and what is written there goes with it.
 * Its processor is emulated (tcg), so that it runs wherever this repository's tests run, inside another virtual machine
 * too, and the same everywhere; hosts are x86-64.
 */

export interface Run {
  /** The program, found in PATH as here, and its arguments. */
  readonly command: readonly string[];
  /** Its environment beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with what it prints, as it comes. */
  readonly onStdout: (chunk: Buffer) => void;
  readonly onStderr: (chunk: Buffer) => void;
  /** Milliseconds until the command must have been started; a VM takes some 3 s. */
  readonly bootLimit?: number;
  /** Milliseconds from there until the command must have ended. */
  readonly runLimit?: number;
  /** More arguments for QEMU: devices. */
  readonly devices?: readonly string[];
  /** Ends the VM. */
  readonly signal?: AbortSignal;
}

/** The VM did not come to the end of the command. The message ends with its kernel's last lines. */
export class MachineError extends Error {
  override readonly name = 'MachineError';
}

/** Lines of the kernel's console to show where something failed: a panic with its call trace, whole. */
const consoleLines = 100;

/** The ports of the VM, by the numbers that start.sh knows them by; 0 would be a console. */
const ports = { out: 1, err: 2, progress: 3 } as const;

/**
 * Boots a VM, runs one command in it as root, in the current directory, and ends it.
 *
 * @returns The command's exit status.
 * @throws {MachineError} when the VM did not start in time, ended early, or the command did not end in time.
 * @throws {Error} that says what to do, when something is missing on this machine.
 */
export async function runInMachine(run: Run): Promise<number> {
  await ensureCommands(['qemu-system-x86_64', 'ip']);
  const kernel = await debianKernel();
  const directory = await mkdtemp(join(tmpdir(), 'plx-vm-'));
  try {
    const initrd = join(directory, 'initrd');
    await writeFile(initrd, await makeInitrd(kernel, script(run)));
    return await supervise(start(kernel.image, initrd, run.devices ?? []), run);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** The command for sh(1): nothing of the host's environment reaches it but what is named here. */
function script({ command, env = {} }: Run): string {
  const { PATH = '', HOME = '/root' } = process.env;
  const variables = Object.entries({ PATH, HOME, ...env }).map(([name, value]) => `${name}=${value}`);
  const words = ['env', '-i', ...variables, ...command].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  return `cd '${process.cwd().replaceAll("'", "'\\''")}'\nexec ${words.join(' ')}\n`;
}

interface Machine {
  readonly process: ChildProcess;
  readonly console: Readable;
  readonly out: Readable;
  readonly err: Readable;
  readonly progress: Readable;
  /** What QEMU itself complains about. */
  readonly complaints: Readable;
}

function start(image: string, initrd: string, devices: readonly string[]): Machine {
  const options: [string, string][] = [
    ['-M', 'q35'],
    ['-accel', 'tcg'],
    // With the random number instruction, nobody in there waits for randomness.
    ['-cpu', 'qemu64,+rdrand'],
    ['-smp', '2'],
    ['-m', '2048'],
    ['-display', 'none'],
    ['-kernel', image],
    ['-initrd', initrd],
    // A panic is a reboot at once, and that is QEMU's end.
    ['-append', 'console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on'],
    ['-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap'],
    ['-chardev', 'socket,id=console,fd=3'],
    ['-serial', 'chardev:console'],
    ['-device', 'virtio-serial'],
    ...Object.entries(ports).flatMap(([name, number]): [string, string][] => [
      ['-chardev', `socket,id=${name},fd=${number + 3}`],
      ['-device', `virtserialport,chardev=${name},nr=${number}`],
    ]),
  ];
  const qemu = ['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-no-reboot', ...options.flat(), ...devices];
  // The parent's death takes QEMU with it: a runner that is killed leaves no machine behind.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...qemu], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  const [, , complaints, console, out, err, progress] = child.stdio.map((stream) => {
    return stream instanceof Readable ? stream : Readable.from([]);
  });
  if (!complaints || !console || !out || !err || !progress) {
    throw new Error('a child process has fewer pipes than it was given');
  }
  return { process: child, complaints, console, out, err, progress };
}

/** Follows a machine to its end, which it brings about itself when a limit has passed. */
async function supervise(machine: Machine, run: Run): Promise<number> {
  const { bootLimit = 120_000, runLimit = 600_000 } = run;
  const tail: string[] = [];
  for (const stream of [machine.console, machine.complaints]) {
    createInterface(stream).on('line', (line) => {
      tail.push(line);
      if (tail.length > consoleLines) tail.shift();
    });
  }
  machine.out.on('data', run.onStdout);
  machine.err.on('data', run.onStderr);

  let status: number | undefined;
  let failure = 'ended before its command did';
  const giveUp = (reason: string): void => {
    failure = reason;
    machine.process.kill('SIGKILL');
  };
  run.signal?.addEventListener('abort', () => giveUp('was told to end'));
  let timer = setTimeout(giveUp, bootLimit, `did not start its command within ${bootLimit / 1000} s`);
  createInterface(machine.progress).on('line', (line) => {
    const [word, value] = line.split(' ');
    clearTimeout(timer);
    if (word === 'started') {
      timer = setTimeout(giveUp, runLimit, `did not end its command within ${runLimit / 1000} s`);
    } else {
      status = Number(value);
      machine.process.kill('SIGKILL');
    }
  });

  const { promise, resolve, reject } = Promise.withResolvers<void>();
  machine.process.once('error', reject);
  machine.process.once('close', () => resolve());
  await promise.finally(() => clearTimeout(timer));
  if (status !== undefined) return status;
  throw new MachineError(`the test VM ${failure}; its last lines:\n${tail.join('\n')}`);
}
