import { connect, type Socket } from 'node:net';

/** Sends bytes to a socket and collects what comes back until the other end closes. */
export async function exchange(path: string, bytes: Uint8Array, end = false): Promise<Buffer> {
  const socket = connect({ path, allowHalfOpen: true });
  if (end) socket.end(bytes);
  else socket.write(bytes);
  return received(socket);
}

export function received(socket: Socket): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  socket.on('error', () => undefined); // it hung up before it had read all
  socket.once('end', () => socket.end());
  socket.once('close', () => resolve(Buffer.concat(pieces)));
  return promise;
}
