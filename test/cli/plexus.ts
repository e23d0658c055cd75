import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import type { NetworkNamespace } from '../../src/linux/namespace.ts';

const launcher = resolve(import.meta.dirname, '../../bin/plexus');

/** Starts the command, in a network namespace where one is given. */
export function start(
  args: readonly string[],
  namespace?: NetworkNamespace,
  more: Readonly<Record<string, string>> = {},
): ChildProcess {
  const { KUBERNETES_SERVICE_HOST: _, ...inherited } = process.env;
  const env = { ...inherited, ...more };
  const begin = (): ChildProcess =>
    spawn(process.execPath, [launcher, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return namespace === undefined ? begin() : namespace.run(begin);
}

export interface Ended {
  readonly status: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

export async function ended(child: ChildProcess): Promise<Ended> {
  if (child.stdout === null || child.stderr === null) throw new Error('expected pipes');
  const [stdout, stderr, [status, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { status: status ?? signal, stdout, stderr };
}

export const run = (args: readonly string[], namespace?: NetworkNamespace): Promise<Ended> =>
  ended(start(args, namespace));
