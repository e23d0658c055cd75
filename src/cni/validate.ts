import { CniError, ErrorCode } from './error.ts';

/** Container ids and network names (specification, sections "Parameters" and "Configuration format"). */
const identifier = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The kernel's IFNAMSIZ less its terminating zero. */
const maxInterfaceNameLength = 15;

/** The kernel's file name limit: both become parts of file names in IPAM directories and journals. */
const maxIdentifierLength = 200;

/** @throws {CniError} 4 in the words of libcni. */
export function validateContainerId(id: string): void {
  if (id.length <= maxIdentifierLength && identifier.test(id)) return;
  throw new CniError(ErrorCode.InvalidEnvironment, 'invalid characters in containerID', abbreviate(id));
}

export const isNetworkName = (name: string): boolean => name.length <= maxIdentifierLength && identifier.test(name);

/** @throws {CniError} 7 in the words of libcni. */
export function validateNetworkName(name: string): void {
  if (name === '') throw new CniError(ErrorCode.InvalidNetworkConfig, 'missing network name');
  if (isNetworkName(name)) return;
  throw new CniError(ErrorCode.InvalidNetworkConfig, 'invalid characters found in network name', abbreviate(name));
}

/**
 * What the kernel takes as an interface's name (dev_valid_name in net/core/dev.c).
 *
 * @throws {CniError} 4 in the words of libcni.
 */
export function validateInterfaceName(name: string): void {
  const problem = interfaceNameProblem(name);
  if (problem === undefined) return;
  const limit = maxInterfaceNameLength + 1;
  const details =
    problem === tooLong
      ? `interface name "${abbreviate(name)}" should be less than ${limit} characters`
      : abbreviate(name);
  throw new CniError(ErrorCode.InvalidEnvironment, problem, details);
}

const tooLong = 'interface name is too long';

/** What is wrong with an interface's name, or undefined. */
export function interfaceNameProblem(name: string): string | undefined {
  if (name === '') return 'interface name is empty';
  if (Buffer.byteLength(name) > maxInterfaceNameLength) return tooLong;
  if (name === '.' || name === '..') return 'interface name is . or ..';
  if (/[/:\s\0]/.test(name)) return 'interface name contains / or : or whitespace characters';
  return undefined;
}

function abbreviate(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
