import { writeFileSync } from 'node:fs';
import { KernelError } from './errors.ts';

const EINVAL = 22;

/** proc_pid_attr(5): the context that what this thread executes next runs in. */
const execAttribute = '/proc/thread-self/attr/exec';

/**
 * Starts a program in a security context. A context is given to programs only, when they are executed.
 *
 * @param start Must have executed the program when it returns, or given up.
 * @throws {KernelError} EINVAL where the kernel has no SELinux, or does not know the context; EACCES where its policy
 *   does not let this process change to it.
 */
export function inSecurityContext<T>(context: string, start: () => T): T {
  write(context, context);
  try {
    return start();
  } finally {
    write(context, '');
  }
}

function write(wanted: string, value: string): void {
  try {
    // An empty line takes it back; to write nothing at all would do nothing.
    writeFileSync(execAttribute, `${value}\n`);
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? -error.errno : EINVAL;
    throw new KernelError(`set the security context "${wanted}" of a program`, errno);
  }
}
