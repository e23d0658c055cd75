import koffi from 'koffi';
import { libc, mostCalls } from './c-library.ts';
import { KernelError } from './errors.ts';

/*
 * The C library, as far as Node has no call of its own for it. Everything here works alike on x64 and arm64: functions
 * of the library are called, never numbered system calls, and no struct with padding crosses the border.
 */

const nativeSocket = libc.func('int socket(int domain, int type, int protocol)');
const nativeSetsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
const nativeGetsockopt = libc.func(
  'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
);
const nativeSend = libc.func('int64_t send(int fd, const void *data, size_t length, int flags)');
const nativeRecvfrom = libc.func(
  'int64_t recvfrom(int fd, void *data, size_t length, int flags, void *address, uint32_t *addressLength)',
);
const nativeSendto = libc.func(
  'int64_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
);
const nativeBind = libc.func('int bind(int fd, const void *address, uint32_t length)');
/** struct sock_fprog of linux/filter.h: koffi knows where a pointer stands. */
const filterProgram = koffi.struct('sock_fprog', { length: 'uint16_t', instructions: 'const void *' });
const nativeSetFilter = libc.func('setsockopt', 'int', ['int', 'int', 'int', koffi.pointer(filterProgram), 'uint32_t']);
const nativeClose = libc.func('int close(int fd)');
const nativeSetns = libc.func('int setns(int fd, int type)');
const nativeUnshare = libc.func('int unshare(int flags)');
const nativeIoctl = libc.func('int ioctl(int fd, unsigned long request, ...)');
// koffi calls nothing variadic on other threads; a third argument is in the same register, variadic or not.
const nativeIoctlWithStruct = libc.func('ioctl', 'int', ['int', 'unsigned long', 'void *']);
const nativeIoctlWithNumber = libc.func('ioctl', 'int', ['int', 'unsigned long', 'unsigned long']);
const nativeMount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)',
);
const nativeUmount2 = libc.func('int umount2(const char *target, int flags)');
const nativeMallopt = libc.func('int mallopt(int parameter, int value)');
const nativeStrerror = libc.func('const char *strerror(int errno)');

/** <sched.h> */
export const CLONE_NEWNET = 0x40000000;
/** <sys/mount.h> */
export const MS_BIND = 0x1000;
export const MNT_DETACH = 2;
/** <sys/socket.h> */
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_ATTACH_FILTER = 26;
/** <malloc.h> */
const M_ARENA_MAX = -8;

const filterInstructionSize = 8;

/** @throws {KernelError} with errno when a call of the library answered less than zero. */
function checked(operation: string, result: number): number {
  if (result < 0) throw new KernelError(operation, koffi.errno());
  return result;
}

let calls = 0;
const waiting: (() => void)[] = [];

/**
 * Runs a call on a thread of the pool that Node's own file system calls use (UV_THREADPOOL_SIZE, four unless set), so
 * that only that thread waits for the kernel.
 *
 * @throws {KernelError} with errno when the call answered less than zero.
 */
async function onThread(
  operation: string,
  call: ReturnType<typeof libc.func>,
  ...args: readonly unknown[]
): Promise<number> {
  if (calls >= mostCalls) await new Promise<void>((resolve) => waiting.push(resolve));
  else calls++;
  try {
    const { result, errno } = await start(call, args);
    if (result < 0) throw new KernelError(operation, errno);
    return result;
  } finally {
    // Whoever waits takes this one's place.
    const next = waiting.shift();
    if (next) next();
    else calls--;
  }
}

/** What calls on other threads work on. koffi knows the buffers' addresses only: they must outlive the call. */
const lent = new Set<readonly unknown[]>();

async function start(
  call: ReturnType<typeof libc.func>,
  args: readonly unknown[],
): Promise<{ readonly result: number; readonly errno: number }> {
  lent.add(args);
  try {
    return await new Promise((resolve, reject) => {
      call.async(...args, (error: Error | null, result: number) => {
        // koffi sets the thread's errno for as long as this callback runs.
        if (error) reject(error);
        else resolve({ result, errno: koffi.errno() });
      });
    });
  } finally {
    lent.delete(args);
  }
}

/** socket(2). @throws {KernelError} */
export function socket(domain: number, type: number, protocol: number): number {
  return checked('open a socket', nativeSocket(domain, type, protocol));
}

/** setsockopt(2) of raw bytes. @throws {KernelError} */
export function setSocketOption(fd: number, level: number, name: number, value: Uint8Array): void {
  checked('set a socket option', nativeSetsockopt(fd, level, name, value, value.length));
}

/** send(2) on another thread: for requests that the kernel works on before it returns. @throws {KernelError} */
export function sendOnThread(fd: number, data: Uint8Array): Promise<number> {
  return onThread('send to the kernel', nativeSend, fd, data, data.length, 0);
}

/** sendto(2), for what the kernel takes without waiting. @throws {KernelError} */
export function sendTo(fd: number, data: Uint8Array, address: Uint8Array): void {
  checked('send a packet', Number(nativeSendto(fd, data, data.length, MSG_DONTWAIT, address, address.length)));
}

/** bind(2) to a protocol's own struct. @throws {KernelError} */
export function bindSocket(fd: number, address: Uint8Array): void {
  checked('bind a socket', nativeBind(fd, address, address.length));
}

/** struct sock_filter of linux/filter.h: what to do, with what, and how many instructions to pass over then. */
export interface FilterInstruction {
  readonly code: number;
  readonly k: number;
  readonly ifTrue?: number;
  readonly ifFalse?: number;
}

/** Has the kernel drop what a filter says (socket(7), SO_ATTACH_FILTER). @throws {KernelError} */
export function attachFilter(fd: number, instructions: readonly FilterInstruction[]): void {
  const program = Buffer.alloc(instructions.length * filterInstructionSize);
  for (const [index, { code, k, ifTrue = 0, ifFalse = 0 }] of instructions.entries()) {
    const offset = index * filterInstructionSize;
    program.writeUInt16LE(code, offset);
    program.writeUInt8(ifTrue, offset + 2);
    program.writeUInt8(ifFalse, offset + 3);
    program.writeUInt32LE(k, offset + 4);
  }
  const value = { length: instructions.length, instructions: program };
  checked('filter a socket', nativeSetFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, value, koffi.sizeof(filterProgram)));
}

/** What recvfrom(2) fills. The address is the protocol's own struct; what it does not fill stays zero. */
export class Inbox {
  readonly data: Buffer;
  readonly address: Buffer;
  readonly addressLength = new Uint32Array(1);

  constructor(size: number, addressSize: number) {
    this.data = Buffer.alloc(size);
    this.address = Buffer.alloc(addressSize);
  }

  /** The arguments of recvfrom(2). */
  arguments(fd: number, flags: number): readonly unknown[] {
    this.addressLength[0] = this.address.length;
    return [fd, this.data, this.data.length, flags, this.address, this.addressLength];
  }
}

/**
 * recvfrom(2) that does not wait.
 *
 * @returns The length of the datagram, which may be more than the inbox holds; undefined when nothing is there.
 * @throws {KernelError}
 */
export function receiveNow(fd: number, inbox: Inbox): number | undefined {
  const length: number = nativeRecvfrom(...inbox.arguments(fd, MSG_DONTWAIT | MSG_TRUNC));
  if (length >= 0) return length;
  const errno = koffi.errno();
  if (errno === koffi.os.errno['EAGAIN'] || errno === koffi.os.errno['EINTR']) return undefined;
  throw new KernelError('receive from the kernel', errno);
}

/**
 * recvfrom(2) on another thread.
 *
 * @returns The length of the datagram, which may be more than the inbox holds.
 * @throws {KernelError} EAGAIN when nothing came within the socket's SO_RCVTIMEO.
 */
export function receiveOnThread(fd: number, inbox: Inbox): Promise<number> {
  return onThread('receive from the kernel', nativeRecvfrom, ...inbox.arguments(fd, MSG_TRUNC));
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

/**
 * ioctl(2) on another thread, for what the kernel works on before it returns.
 *
 * @param argument A struct, or a number where the request takes one in the place of an address.
 * @throws {KernelError}
 */
export function ioctlOnThread(
  operation: string,
  fd: number,
  request: number,
  argument: Uint8Array | number,
): Promise<number> {
  const call = typeof argument === 'number' ? nativeIoctlWithNumber : nativeIoctlWithStruct;
  return onThread(operation, call, fd, request, argument);
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

/** How many heaps threads share, mallopt(3). To be called before there are many threads. */
export function limitArenas(count: number): void {
  if (nativeMallopt(M_ARENA_MAX, count) !== 1) throw new Error(`mallopt: M_ARENA_MAX cannot be ${count}`);
}

/** The C library's words for an error number, in lower case as they stand in the middle of a sentence. */
export function strerror(errno: number): string {
  const text: string = nativeStrerror(errno);
  return text.charAt(0).toLowerCase() + text.slice(1);
}
