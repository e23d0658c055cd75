import { constants } from 'node:os';
import { strerror } from './libc.ts';

/** Of two names for one number, the one that manual pages of network calls use. */
const synonyms: readonly string[] = ['EWOULDBLOCK', 'ENOTSUP'];

const names = new Map(
  Object.entries(constants.errno).flatMap(([name, number]) => (synonyms.includes(name) ? [] : [[number, name]])),
);

/** What the kernel refused, why, and what it said beyond a number. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  /** What was wanted, such as `create macvlan net1`. */
  readonly operation: string;
  readonly errno: number;
  /** The name of errno, such as `EEXIST`. */
  readonly code: string;
  /** The kernel's extended acknowledgement (NLMSGERR_ATTR_MSG), where it gave one. */
  readonly extack: string | undefined;

  constructor(operation: string, errno: number, extack?: string) {
    super(`${operation}: ${strerror(errno)}${extack === undefined ? '' : ` (${extack})`}`);
    this.operation = operation;
    this.errno = errno;
    this.code = names.get(errno) ?? `E${errno}`;
    this.extack = extack;
  }
}

/**
 * Whether an error is the kernel's, and one of these.
 *
 * @param codes Names of errno; any where none is given.
 */
export function isKernelError(error: unknown, ...codes: readonly string[]): error is KernelError {
  return error instanceof KernelError && (codes.length === 0 || codes.includes(error.code));
}
