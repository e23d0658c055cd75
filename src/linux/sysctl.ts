import { close, closeSync, constants, openSync, read, write, writeSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { NetworkNamespace } from './namespace.ts';

/*
 * Sysctls of the network, proc_sys(5). Which namespace a file of /proc/sys/net belongs to is settled when it is opened.
 * Opening is a matter of microseconds; reading and writing, for which the kernel may wait for rtnl_lock, happen on
 * another thread.
 */

const readFile = promisify(read);
const writeFile = promisify(write);
const closeFile = promisify(close);

/**
 * @param name Below /proc/sys/net, its parts apart: `['ipv4', 'conf', 'net1', 'arp_notify']`. An interface's name may have
 *   dots, and must be checked to be one.
 * @throws {Error} ENOENT when there is none, such as IPv6's in a kernel without it.
 */
export async function readSysctl(namespace: NetworkNamespace, ...name: readonly string[]): Promise<string> {
  const fd = open(namespace, name, constants.O_RDONLY);
  try {
    const { bytesRead, buffer } = await readFile(fd, Buffer.alloc(4096), 0, 4096, 0);
    return buffer.toString('utf8', 0, bytesRead).trim();
  } finally {
    await closeFile(fd);
  }
}

/**
 * @param name As of {@link readSysctl}.
 * @throws {Error} ENOENT when there is none, EINVAL when it does not take the value.
 */
export async function writeSysctl(
  namespace: NetworkNamespace,
  value: string | number,
  ...name: readonly string[]
): Promise<void> {
  const fd = open(namespace, name, constants.O_WRONLY);
  try {
    await writeFile(fd, `${value}\n`);
  } finally {
    await closeFile(fd);
  }
}

/** Writes a sysctl, and passes over one that this kernel does not have. */
export async function writeSysctlIfAny(
  namespace: NetworkNamespace,
  value: string | number,
  ...name: readonly string[]
): Promise<void> {
  try {
    await writeSysctl(namespace, value, ...name);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/**
 * Writes a sysctl at once, and passes over one that this kernel does not have. Only for those that the kernel does nothing
 * with but store (`proc_dointvec`), so that there is nothing to wait for: `arp_notify`, `ndisc_notify`, `accept_dad`,
 * `accept_ra`.
 */
export function storeSysctl(namespace: NetworkNamespace, value: number, ...name: readonly string[]): void {
  let fd: number;
  try {
    fd = open(namespace, name, constants.O_WRONLY);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  try {
    writeSync(fd, `${value}\n`);
  } finally {
    closeSync(fd);
  }
}

function open(namespace: NetworkNamespace, name: readonly string[], flags: number): number {
  for (const part of name) {
    if (part === '' || part === '.' || part === '..' || part.includes('/')) {
      throw new Error(`"${part}" cannot be part of a sysctl's name`);
    }
  }
  return namespace.run(() => openSync(join('/proc/sys/net', ...name), flags));
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
