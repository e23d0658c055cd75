import { readFile } from 'node:fs/promises';

/** Clock ticks in a second, as /proc counts on every Linux: USER_HZ of asm-generic/param.h. */
const ticksPerSecond = 100;

/** Milliseconds of processor time that a process has used. */
export interface Cpu {
  readonly own: number;
  /** That of its children that have ended. */
  readonly children: number;
}

/**
 * Reads proc_pid_stat(5).
 *
 * @param pid A number, or `self`.
 */
export async function cpuOf(pid: number | 'self'): Promise<Cpu> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The program's name stands in parentheses and may contain anything. Behind it, the first field is the third.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const ticks = (first: number): number => Number(fields[first - 3]) + Number(fields[first - 2]);
  const toMilliseconds = 1000 / ticksPerSecond;
  return { own: ticks(14) * toMilliseconds, children: ticks(16) * toMilliseconds };
}
