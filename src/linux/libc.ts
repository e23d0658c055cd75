import koffi from 'koffi';
import { KernelError } from './errors.ts';

/*
 * The C library, as far as Node has no call of its own for it. Everything here works alike on x64 and arm64: functions
 * of the library are called, never numbered system calls, and no struct with padding crosses the border.
 */

const libc = koffi.load(null);

const nativeSocket = libc.func('int socket(int domain, int type, int protocol)');
const nativeSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
const nativeGetsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
);
const nativeSend = libc.func('int64_t send(int fd, const void *data, size_t length, int flags)');
const nativeRecv = libc.func('int64_t recv(int fd, void *data, size_t length, int flags)');
const nativeClose = libc.func('int close(int fd)');
const nativeSetns = libc.func('int setns(int fd, int type)');
const nativeUnshare = libc.func('int unshare(int flags)');
const nativeIoctl = libc.func('int ioctl(int fd, unsigned long request, ...)');
const nativeMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
);
const nativeUmount2 = libc.func('int umount2(const char *target, int flags)');
const nativeStrerror = libc.func('const char *strerror(int errno)');

/** <sched.h> */
export const CLONE_NEWNET = 0x40000000;
/** <sys/mount.h> */
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_SHARED = 1 << 20;
export const MNT_DETACH = 2;
/** <sys/socket.h> */
export const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** @throws {KernelError} with errno when a call of the library answered less than zero. */
function checked(operation: string, result: number): number {
  if (result < 0) throw new KernelError(operation, koffi.errno());
  return result;
}

/**
 * Runs a call on a thread of the pool that Node's own file system calls use (UV_THREADPOOL_SIZE, four unless set), so
 * that only that thread waits for the kernel. errno stays behind on that thread: a failure is known only as such.
 */
function onThread(call: ReturnType<typeof libc.func>, ...args: readonly unknown[]): Promise<number> {
  return new Promise((resolve, reject) => {
    call.async(...args, (error: Error | null, result: number) => (error ? reject(error) : resolve(result)));
  });
}

/** socket(2). @throws {KernelError} */
export function socket(domain: number, type: number, protocol: number): number {
  return checked('open a socket', nativeSocket(domain, type, protocol));
}

/** setsockopt(2) of raw bytes. @throws {KernelError} */
export function setSocketOption(fd: number, level: number, name: number, value: Uint8Array): void {
  checked('set a socket option', nativeSetsockopt(fd, level, name, value, value.length));
}

/** send(2) on another thread: for requests that the kernel works on before it returns. Resolves to less than zero on failure. */
export function sendOnThread(fd: number, data: Uint8Array): Promise<number> {
  return onThread(nativeSend, fd, data, data.length, 0);
}

/** recv(2) that does not wait. @returns The length, or undefined when nothing is there. @throws {KernelError} */
export function receiveNow(fd: number, into: Uint8Array): number | undefined {
  const length: number = nativeRecv(fd, into, into.length, MSG_DONTWAIT);
  if (length >= 0) return length;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['EAGAIN'] || errno === koffi.os.errno['EINTR']) return undefined;
  throw new KernelError('receive from a socket', errno);
}

/** recv(2) on another thread. Resolves to less than zero when nothing came in time, or the call failed. */
export function receiveOnThread(fd: number, into: Uint8Array): Promise<number> {
  return onThread(nativeRecv, fd, into, into.length, 0);
}

export function close(fd: number): void {
  nativeClose(fd);
}

/** setns(2): for the calling thread only. @throws {KernelError} */
export function setns(fd: number, type: number): void {
  checked('enter a namespace', nativeSetns(fd, type));
}

/** unshare(2): for the calling thread only. @throws {KernelError} */
export function unshare(flags: number): void {
  checked('make a namespace', nativeUnshare(flags));
}

/** ioctl(2) without an argument. @throws {KernelError} */
export function ioctl(fd: number, request: number): number {
  return checked('ioctl', nativeIoctl(fd, request));
}

/** ioctl(2) with a struct that the kernel reads and may write. @throws {KernelError} */
export function ioctlWith(fd: number, request: number, argument: Uint8Array): number {
  return checked('ioctl', nativeIoctl(fd, request, 'void *', argument));
}

/** mount(2). @throws {KernelError} */
export function mount(source: string, target: string, flags: number): void {
  checked(`mount ${source} on ${target}`, nativeMount(source, target, 'none', flags, null));
}

/** umount2(2). @throws {KernelError} */
export function unmount(target: string, flags: number): void {
  checked(`unmount ${target}`, nativeUmount2(target, flags));
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Who is at the other end of a unix socket, as the kernel noted it when they connected (SO_PEERCRED, unix(7)).
 *
 * @throws {KernelError}
 */
export function peerCredentials(fd: number): PeerCredentials {
  const ucred = new Int32Array(3);
  checked('ask for the peer of a socket', nativeGetsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, [ucred.byteLength]));
  const [pid = -1, uid = -1, gid = -1] = ucred;
  return { pid, uid, gid };
}

/** The C library's words for an error number, in lower case as they stand in the middle of a sentence. */
export function strerror(errno: number): string {
  const text: string = nativeStrerror(errno);
  return text.charAt(0).toLowerCase() + text.slice(1);
}
