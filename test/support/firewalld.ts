import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { testDirectory } from './directory.ts';

/*
 * A system bus with a firewalld on it, that knows sources of zones and nothing else, and answers as firewalld 1.3.3 does: as
 * much of the D-Bus specification as its clients' libraries need for calls whose arguments are texts.
 */

export interface TestFirewalld extends AsyncDisposable {
  /** For DBUS_SYSTEM_BUS_ADDRESS. */
  readonly address: string;
  /** `zone source`, of all that are set. */
  readonly sources: Set<string>;
  /** `method zone source`, of all that were called. */
  readonly calls: string[];
}

/** Zones that there are. */
const zones = ['trusted', 'pods'];

const call = 1;
const reply = 2;
const failure = 3;

/** Header fields ("Message Protocol", "Header Fields"), by their numbers. */
const memberField = 3;
const errorField = 4;
const replySerialField = 5;
const signatureField = 8;

export async function testFirewalld(): Promise<TestFirewalld> {
  const directory = await testDirectory();
  const path = join(directory.path, 'bus');
  const sources = new Set<string>();
  const calls: string[] = [];
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket)).on('error', () => undefined);
    serve(socket, (member, args) => {
      if (member === 'Hello' || member === 'GetNameOwner') return ':1.1';
      calls.push([member, ...args].join(' '));
      return answer(sources, member, args);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    address: `unix:path=${path}`,
    sources,
    calls,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** What firewalld answers (firewalld.dbus(5)). @throws {Error} with the words of its exception. */
function answer(sources: Set<string>, member: string, [zone = '', source = '']: readonly string[]): string | boolean {
  const key = `${zone} ${source}`;
  if (!zones.includes(zone)) throw new Error(`INVALID_ZONE: ${zone}`);
  if (member === 'querySource') return sources.has(key);
  const isElsewhere = !sources.has(key) && [...sources].some((other) => other.endsWith(` ${source}`));
  if (isElsewhere) throw new Error(`ZONE_CONFLICT: '${source}' already bound to a zone`);
  if (member === 'addSource') {
    if (sources.has(key)) throw new Error(`ZONE_ALREADY_SET: '${source}' already bound to '${zone}'`);
    sources.add(key);
  } else if (!sources.delete(key)) {
    throw new Error(`UNKNOWN_SOURCE: '${source}' is not in any zone`);
  }
  return zone;
}

type Handler = (member: string, args: readonly string[]) => string | boolean;

function serve(socket: Socket, handle: Handler): void {
  let input: Buffer = Buffer.alloc(0);
  let isAuthenticated = false;
  socket.on('data', (data: Buffer) => {
    input = Buffer.concat([input, data]);
    while (!isAuthenticated) {
      const end = input.indexOf('\r\n');
      if (end < 0) return;
      const line = input.toString('latin1', 0, end).replace('\0', '');
      input = input.subarray(end + 2);
      if (line === 'BEGIN') isAuthenticated = true;
      else if (line.startsWith('AUTH EXTERNAL')) socket.write(`OK ${'0'.repeat(32)}\r\n`);
      else socket.write(line === 'AUTH' ? 'REJECTED EXTERNAL\r\n' : 'ERROR\r\n');
    }
    for (let message = decode(input); message !== undefined; message = decode(input)) {
      input = input.subarray(message.length);
      if (message.type === call) socket.write(respond(message, handle));
    }
  });
}

interface Message {
  readonly length: number;
  readonly type: number;
  readonly serial: number;
  readonly member: string;
  readonly args: readonly string[];
}

const align = (offset: number, to: number): number => Math.ceil(offset / to) * to;

/** @returns undefined until all of it is there. */
function decode(input: Buffer): Message | undefined {
  if (input.length < 16) return undefined;
  const fieldsEnd = 16 + input.readUInt32LE(12);
  const body = align(fieldsEnd, 8);
  const length = body + input.readUInt32LE(4);
  if (input.length < length) return undefined;
  let member = '';
  for (let offset = 16; offset < fieldsEnd; ) {
    offset = align(offset, 8);
    const field = input.readUInt8(offset);
    const type = input.toString('latin1', offset + 2, offset + 3);
    offset += 4;
    const size = type === 'g' ? input.readUInt8(offset) + 2 : type === 'u' ? 4 : input.readUInt32LE(offset) + 5;
    if (field === memberField) member = input.toString('utf8', offset + 4, offset + size - 1);
    offset += size;
  }
  const args: string[] = [];
  for (let offset = body; offset < length; ) {
    offset = align(offset, 4);
    const end = offset + 4 + input.readUInt32LE(offset);
    args.push(input.toString('utf8', offset + 4, end));
    offset = end + 1;
  }
  return { length, type: input.readUInt8(1), serial: input.readUInt32LE(8), member, args };
}

function respond({ serial, member, args }: Message, handle: Handler): Buffer {
  try {
    const value = handle(member, args);
    return typeof value === 'string'
      ? encode(reply, serial, [[signatureField, 'g', 's']], textOf(value))
      : encode(reply, serial, [[signatureField, 'g', 'b']], uint32(value ? 1 : 0));
  } catch (error) {
    const fields = [
      [errorField, 's', 'org.fedoraproject.FirewallD1.Exception'],
      [signatureField, 'g', 's'],
    ] as const;
    return encode(failure, serial, fields, textOf(error instanceof Error ? error.message : String(error)));
  }
}

function encode(
  type: number,
  serial: number,
  fields: readonly (readonly [number, 's' | 'g', string])[],
  body: Buffer,
): Buffer {
  let header = Buffer.concat([Buffer.from([replySerialField, 1, 0x75, 0]), uint32(serial)]);
  for (const [field, kind, value] of fields) {
    const signature = Buffer.from([field, 1, kind.charCodeAt(0), 0]);
    const text = kind === 's' ? textOf(value) : Buffer.from(`${String.fromCharCode(value.length)}${value}\0`);
    header = Buffer.concat([padded(header), signature, text]);
  }
  const begin = Buffer.from([0x6c, type, 1, 1]);
  return Buffer.concat([begin, uint32(body.length), uint32(serial), uint32(header.length), padded(header), body]);
}

const padded = (buffer: Buffer): Buffer =>
  Buffer.concat([buffer, Buffer.alloc(align(buffer.length, 8) - buffer.length)]);

function textOf(text: string): Buffer {
  const content = Buffer.from(`${text}\0`);
  return Buffer.concat([uint32(content.length - 1), content]);
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}
