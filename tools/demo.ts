import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import { ensureCommands } from './debian.ts';
import { hasIpvlan } from './demo/kernel.ts';
import { repository } from './demo/paths.ts';
import { walkThrough } from './demo/walk-through.ts';

/*
 * `node tools/demo.ts` runs the walk-through, and fails when anything differs from what it promises: on this machine's own
 * kernel or, where that has no ipvlan, in the test VM. `--here` is for the VM: it never starts another.
 */

try {
  process.exitCode = await main(process.argv.includes('--here'));
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function main(here: boolean): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error('network namespaces are made: run it as root');
  if (!here) await ensureCommands(['ip', 'kubectl']);
  if (await hasIpvlan()) return (await walkThrough()) ? 0 : 1;
  if (here) throw new Error(`the kernel here, ${release()}, has no ipvlan`);
  const why = `This machine's kernel, ${release()}, has no ipvlan`;
  process.stdout.write(`${why}: the same runs in the test VM, on Debian's, where all takes much longer.\n\n`);
  return inMachine();
}

async function inMachine(): Promise<number> {
  const command = ['test/vm/boot.ts', '--', process.execPath, 'tools/demo.ts', '--here'];
  const child = spawn(process.execPath, command, { cwd: repository, stdio: 'inherit' });
  const [status]: unknown[] = await once(child, 'exit');
  return typeof status === 'number' ? status : 1;
}
