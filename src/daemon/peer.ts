import type { Socket } from 'node:net';
import { type PeerCredentials, peerCredentials } from '../linux/libc.ts';

/**
 * Who is at the other end of a connection. Node has no call for it, but what it documents of `server.listen(handle)`
 * holds for sockets: they have an underlying member `_handle`, and that has the file descriptor as `fd`.
 *
 * @throws {KernelError | Error} when it cannot be known. Such a peer is to be refused.
 */
export function peerOf(socket: Socket): PeerCredentials {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle === 'object' && handle !== null && 'fd' in handle) {
    const { fd } = handle;
    if (typeof fd === 'number' && fd >= 0) return peerCredentials(fd);
  }
  throw new Error('the connection has no file descriptor');
}
