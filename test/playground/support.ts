import { execFile } from 'node:child_process';
import type { NetworkNamespace } from '../../src/linux/namespace.ts';

export interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Execution {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** Runs a program inside a network namespace, to its end. */
export function executeIn(namespace: NetworkNamespace, file: string, execution: Execution = {}): Promise<Ended> {
  const { args = [], env = {}, stdin = '' } = execution;
  const { promise, resolve } = Promise.withResolvers<Ended>();
  namespace.run(() => {
    const all = { PATH: process.env['PATH'], ...env };
    const child = execFile(file, args, { env: all }, (error, stdout, stderr) => {
      const status = typeof error?.code === 'number' ? error.code : error === null ? 0 : -1;
      resolve({ status, stdout, stderr: stderr || (error?.message ?? '') });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(stdin);
  });
  return promise;
}
