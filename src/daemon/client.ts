import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { Answer, Request } from './frame.ts';

/**
 * Calls a daemon as the shim does (shim/plexus.c).
 *
 * @param timeoutMs How long it may be silent.
 * @throws {Error} when nobody listens, nobody answers in time, or what answers is no daemon.
 */
export async function callDaemon(path: string, request: Request, timeoutMs: number): Promise<Answer> {
  const socket = connect(path);
  const silence = (): void => void socket.destroy(new Error(`no answer within ${timeoutMs} ms`));
  socket.setTimeout(timeoutMs, silence);
  try {
    socket.write(encodeRequest(request));
    return decodeAnswer(await buffer(socket));
  } finally {
    socket.destroy();
  }
}

export function encodeRequest({ name, env, stdin }: Request): Buffer {
  const variables = Object.entries(env);
  const count = Buffer.alloc(2);
  count.writeUInt16LE(variables.length);
  const body = Buffer.concat([
    sized(name, 1),
    count,
    ...variables.map(([key, value = '']) => sized(`${key}=${value}`, 4)),
    sized(stdin, 4),
  ]);
  const header = Buffer.from('PLX1\0\0\0\0');
  header.writeUInt32LE(body.length, 4);
  return Buffer.concat([header, body]);
}

/** @throws {Error} when it is not one whole answer. */
export function decodeAnswer(bytes: Buffer): Answer {
  if (bytes.length < 9 || bytes.toString('latin1', 0, 4) !== 'PLX1' || bytes.readUInt32LE(4) !== bytes.length - 8) {
    throw new Error(`expected one answer, found ${bytes.length} bytes: ${bytes.toString('latin1', 0, 40)}`);
  }
  return { exitStatus: bytes.readUInt8(8), stdout: bytes.toString('utf8', 9) };
}

function sized(text: string, bytes: 1 | 4): Buffer {
  const content = Buffer.from(text);
  const length = Buffer.alloc(bytes);
  length.writeUIntLE(content.length, 0, bytes);
  return Buffer.concat([length, content]);
}
