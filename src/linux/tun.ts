import { close, constants, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { runCommand } from './command.ts';
import { KernelError } from './errors.ts';
import { ioctlOnThread } from './libc.ts';
import type { NetworkNamespace } from './namespace.ts';
import { inSecurityContext } from './selinux.ts';

/*
 * Interfaces whose other end is a program: linux/if_tun.h, Documentation/networking/tuntap.rst. The kernel makes them by
 * ioctl only (tun_validate of drivers/net/tun.c).
 */

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETGROUP = 0x400454ce;

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_TUN_EXCL = 0x8000;

/** struct ifreq of linux/if.h: IFNAMSIZ bytes of the name, then the flags, in a union of three pointers. */
const ifreqLength = 40;
const flagsOffset = 16;

const device = '/dev/net/tun';

const closeFile = promisify(close);

export interface NewTap {
  readonly name: string;
  /** Several programs, or threads of one, can each have a queue of it. */
  readonly multiQueue: boolean;
  /** User and group of the program that may open it without CAP_NET_ADMIN; undefined for nobody, and for any group. */
  readonly owner: number | undefined;
  readonly group: number | undefined;
}

/**
 * Makes a tap interface that is there without a program, too.
 *
 * @param namespace In which it is made, under its final name.
 * @throws {KernelError} EBUSY when the name is taken; ENOENT or ENODEV when the kernel has none such. Nothing is made then.
 */
export async function createTap(namespace: NetworkNamespace, { name, ...tap }: NewTap): Promise<void> {
  const operation = `create tap ${name}`;
  // The namespace is that of whoever opens the device (tun_chr_open).
  const fd = namespace.run(() => openDevice(operation));
  try {
    await ioctlOnThread(operation, fd, TUNSETIFF, interfaceRequest(name, tap.multiQueue));
    if (tap.owner !== undefined) await ioctlOnThread(`give ${name} an owner`, fd, TUNSETOWNER, tap.owner);
    if (tap.group !== undefined) await ioctlOnThread(`give ${name} a group`, fd, TUNSETGROUP, tap.group);
    await ioctlOnThread(`keep ${name}`, fd, TUNSETPERSIST, 1);
  } finally {
    await closeFile(fd);
  }
}

/**
 * {@link createTap} by a program in an SELinux context, which is that of the interface from then on: a process can have
 * its context changed only as a whole, where it executes something (selinux_setprocattr of security/selinux/hooks.c).
 *
 * @throws {KernelError} of {@link inSecurityContext}.
 * @throws {CommandError} what ip(8) says.
 */
export async function createTapInContext(namespace: NetworkNamespace, tap: NewTap, context: string): Promise<void> {
  const { name, multiQueue, owner, group } = tap;
  const args = [
    ...['tuntap', 'add', 'mode', 'tap', 'name', name],
    ...(multiQueue ? ['multi_queue'] : []),
    ...(owner === undefined ? [] : ['user', `${owner}`]),
    ...(group === undefined ? [] : ['group', `${group}`]),
  ];
  const { ended } = namespace.run(() => ({ ended: inSecurityContext(context, () => runCommand('ip', args)) }));
  await ended;
}

function openDevice(operation: string): number {
  try {
    return openSync(device, constants.O_RDWR);
  } catch (error) {
    const errno =
      error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? -error.errno : undefined;
    if (errno === undefined) throw error;
    throw new KernelError(operation, errno, `open ${device}`);
  }
}

/** Packets without a header before them. Only a new interface will do: without IFF_TUN_EXCL, one that is there would. */
function interfaceRequest(name: string, multiQueue: boolean): Buffer {
  const request = Buffer.alloc(ifreqLength);
  request.write(name, 0, flagsOffset - 1);
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | (multiQueue ? IFF_MULTI_QUEUE : 0), flagsOffset);
  return request;
}
