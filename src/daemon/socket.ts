import { chmod, lstat, mkdir, readdir, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { lockFile } from './lock.ts';
import { peerOf } from './peer.ts';

/** struct sockaddr_un, unix(7), less the zero byte at its end. */
const maxPathLength = 107;

const lockName = 'plexus.lock';

/**
 * Listens on a unix socket in a directory that only its owner enters. The socket of a daemon that died is replaced, that
 * of a living one is not.
 *
 * @returns What is to be disposed of once the server has closed, which removes the socket.
 * @throws {Error} naming the process that listens there, or what is wrong with the directory.
 */
export async function listenAt(server: Server, path: string): Promise<AsyncDisposable> {
  const length = Buffer.byteLength(path);
  if (length > maxPathLength) {
    throw new Error(`socketDir: ${path} has ${length} bytes, a socket's path at most ${maxPathLength}`);
  }
  const directory = dirname(path);
  await makePrivate(directory, [path.slice(directory.length + 1), lockName]);
  const lock = await lockFile(join(directory, lockName), path);
  try {
    await removeStale(path);
    await listen(server, path);
    await chmod(path, 0o600);
  } catch (error) {
    await lock[Symbol.asyncDispose]();
    throw error;
  }
  return lock;
}

/** A directory that is not ours alone, such as /run, keeps its mode; the socket's own and the peer's user protect there. */
async function makePrivate(directory: string, ours: readonly string[]): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const { uid, mode } = await lstat(directory);
  const others = (await readdir(directory)).filter((name) => !ours.includes(name));
  if (uid === process.getuid?.() && others.length === 0) return chmod(directory, 0o700);
  if ((uid !== 0 && uid !== process.getuid?.()) || (mode & 0o022) !== 0) {
    throw new Error(
      `socketDir: ${directory} belongs to user ${uid} and has mode ${(mode & 0o7777).toString(8)}, so that others could ` +
        'put a socket of their own there; choose a directory that only root can write',
    );
  }
}

/** The lock is ours, so a daemon that listens here has lost it: its lock file was removed. It is left alone all the same. */
async function removeStale(path: string): Promise<void> {
  const about = await lstat(path).catch(ignoreMissing);
  if (about === undefined) return;
  if (!about.isSocket()) throw new Error(`${path} is in the way: expected a socket or nothing`);
  const pid = await listenerOf(path);
  if (pid !== undefined) throw new Error(`${path} is in use by process ${pid}`);
  await unlink(path).catch(ignoreMissing);
}

/** The process that listens on a socket; undefined when none does. */
function listenerOf(path: string): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const socket = connect(path);
  socket.once('connect', () => {
    resolve(peerOf(socket).pid);
    socket.destroy();
  });
  socket.once('error', (error) => {
    if ('code' in error && (error.code === 'ECONNREFUSED' || error.code === 'ENOENT')) resolve(undefined);
    else reject(error);
  });
  return promise;
}

async function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(path, resolve);
  await promise;
  server.off('error', reject);
}

function ignoreMissing(error: unknown): undefined {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
}
