import { connect, type Socket } from 'node:net';
import type { Answer, Request } from '../../src/daemon/frame.ts';

/** What the shim sends for a call (shim/plexus.c). */
export function encodeRequest({ name, env, stdin }: Request): Buffer {
  const sized = (text: string, bytes: 1 | 4): Buffer => {
    const content = Buffer.from(text);
    const length = Buffer.alloc(bytes);
    length.writeUIntLE(content.length, 0, bytes);
    return Buffer.concat([length, content]);
  };
  const variables = Object.entries(env);
  const count = Buffer.alloc(2);
  count.writeUInt16LE(variables.length);
  const fields = [
    sized(name, 1),
    count,
    ...variables.map(([key, value]) => sized(`${key}=${value}`, 4)),
    sized(stdin, 4),
  ];
  const body = Buffer.concat(fields);
  const header = Buffer.from('PLX1\0\0\0\0');
  header.writeUInt32LE(body.length, 4);
  return Buffer.concat([header, body]);
}

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

export function decodeAnswer(bytes: Buffer): Answer {
  if (bytes.subarray(0, 4).toString() !== 'PLX1' || bytes.readUInt32LE(4) !== bytes.length - 8) {
    throw new Error(`expected one answer, found ${bytes.toString('latin1')}`);
  }
  return { exitStatus: bytes.readUInt8(8), stdout: bytes.toString('utf8', 9) };
}
