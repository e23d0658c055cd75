import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { mkdir, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isKernelError, KernelError } from './errors.ts';
import { CLONE_NEWNET, ioctl, MNT_DETACH, MS_BIND, mount, setns, unmount, unshare } from './libc.ts';

/** _IO(NSIO, 0x3) of linux/nsfs.h: the kind of a namespace. */
const NS_GET_NSTYPE = 0xb703;

const EINVAL = 22;

/** An open network namespace. It lives at least as long as this, whatever happens to its name. */
export class NetworkNamespace implements Disposable {
  readonly path: string;
  /** Equal for two that are the same namespace. */
  readonly id: string;
  readonly #own: boolean;
  #fd: number | undefined;

  private constructor(path: string, own: boolean) {
    this.path = path;
    this.#own = own;
    this.#fd = openNamespace(path);
    const { dev, ino } = fstatSync(this.#fd, { bigint: true });
    this.id = `${dev}:${ino}`;
  }

  /**
   * Opens a namespace by its path, such as /run/netns/blue or /proc/42/ns/net.
   *
   * @throws {KernelError} ENOENT when it is gone, EINVAL when the path is no network namespace.
   */
  static open(path: string): NetworkNamespace {
    return new NetworkNamespace(path, false);
  }

  /** The namespace that this process runs in: the node's. Disposing of it does nothing. */
  static host(): NetworkNamespace {
    host ??= new NetworkNamespace('/proc/self/ns/net', true);
    return host;
  }

  /** @throws {Error} after disposal: the number may be another file's by then. */
  get fd(): number {
    if (this.#fd === undefined) throw new Error(`network namespace ${this.path} was closed`);
    return this.#fd;
  }

  /**
   * Runs a function inside the namespace. Only the calling thread goes there, and only until the function returns, which
   * is why it must not be async: what it awaits would go on wherever the thread is then. A socket that it opens, or a
   * file of /proc/sys/net, stays bound to the namespace.
   *
   * @throws {KernelError} when the namespace cannot be entered; and whatever the function throws.
   */
  run<T>(work: () => T extends PromiseLike<unknown> ? never : T): T {
    if (this.#own && depth === 0) return work();
    return visit(() => setns(this.fd, CLONE_NEWNET), work);
  }

  [Symbol.dispose](): void {
    if (this.#own || this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }
}

let host: NetworkNamespace | undefined;

function openNamespace(path: string): number {
  // O_NONBLOCK: a path that is a FIFO must not hold up everybody.
  const fd = openOrThrow(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    // A namespace is a regular file; the ioctl's number may mean anything to a device.
    if (fstatSync(fd).isFile() && ioctl(fd, NS_GET_NSTYPE) === CLONE_NEWNET) return fd;
  } catch (error) {
    if (!isKernelError(error)) throw error;
  }
  closeSync(fd);
  throw new KernelError(`open network namespace ${path}`, EINVAL, 'this path is no network namespace');
}

function openOrThrow(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? -error.errno : EINVAL;
    throw new KernelError(`open network namespace ${path}`, errno);
  }
}

/**
 * Whether a path names the namespace that this process runs in: the node's own, where nothing of a sandbox may be made or
 * removed. False for a path that is gone, or is no namespace.
 */
export function isOwnNamespace(path: string): boolean {
  try {
    using namespace = NetworkNamespace.open(path);
    return namespace.id === NetworkNamespace.host().id;
  } catch (error) {
    if (isKernelError(error)) return false;
    throw error;
  }
}

/** How many visits to other namespaces this thread is within. */
let depth = 0;

/** Enters a namespace for as long as a function runs, then goes back to where the thread was. */
function visit<T>(enter: () => void, work: () => T): T {
  const back = depth === 0 ? NetworkNamespace.host().fd : openSync('/proc/thread-self/ns/net', constants.O_RDONLY);
  try {
    enter();
    depth++;
    try {
      return work();
    } finally {
      depth--;
      goBack(back);
    }
  } finally {
    if (depth > 0) closeSync(back);
  }
}

/** A thread that is in a pod's namespace while all believe it to be in the node's would do harm there: better none. */
function goBack(fd: number): void {
  try {
    setns(fd, CLONE_NEWNET);
  } catch (error) {
    process.stderr.write(`cannot return to the network namespace that the thread came from: ${error}\n`);
    process.abort();
  }
}

/**
 * Runs a function in a new network namespace, which lives on in what the function made: a child process, a mount.
 *
 * @throws {KernelError}
 */
export function inNewNamespace<T>(work: () => T extends PromiseLike<unknown> ? never : T): T {
  return visit(() => unshare(CLONE_NEWNET), work);
}

/**
 * Makes a namespace that is held by a name, as `ip netns add` does.
 *
 * @param name A file name.
 * @returns Its path.
 * @throws {KernelError} and EEXIST when the name is taken.
 */
export async function createNamedNamespace(name: string, directory = '/run/netns'): Promise<string> {
  if (!/^[\w.-]+$/.test(name) || name === '.' || name === '..') throw new Error(`"${name}" cannot name a namespace`);
  const path = join(directory, name);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await (await open(path, 'wx', 0o444)).close();
  try {
    inNewNamespace(() => mount('/proc/thread-self/ns/net', path, MS_BIND));
  } catch (error) {
    await unlink(path);
    throw error;
  }
  return path;
}

/** Removes a name made by {@link createNamedNamespace}. The namespace goes with its last user. Gone already is no error. */
export async function deleteNamedNamespace(path: string): Promise<void> {
  try {
    unmount(path, MNT_DETACH);
  } catch (error) {
    if (!isKernelError(error, 'EINVAL', 'ENOENT')) throw error;
  }
  await unlink(path).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  });
}
