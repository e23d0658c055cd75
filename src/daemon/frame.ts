import { CniError, ErrorCode } from '../cni/error.ts';
import type { Environment } from '../cni/invocation.ts';

/* What the shim sends and expects: shim/plexus.c has the layout. Numbers are little-endian. */

const magic = Buffer.from('PLX1');
const headerLength = 8;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Of a whole frame, its header included. */
const maxFrame = 16 << 20;

/** One call of the runtime, as the shim carries it. */
export interface Request {
  /** The name that the shim was called under: the meta-plugin's or a plugin's. */
  readonly name: string;
  /** The CNI_* variables. */
  readonly env: Environment;
  readonly stdin: string;
}

/** What the shim prints and ends with. */
export interface Answer {
  /** 0 to 255. */
  readonly exitStatus: number;
  readonly stdout: string;
}

/** Puts a request together from the pieces that arrive. It holds at most twice what has arrived, whatever is announced. */
export class RequestReader {
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;

  /**
   * Takes the next piece.
   *
   * @returns The request once all of it is there.
   * @throws {CniError} 5 for what is no frame, or one that is too long; 6 for text that is not UTF-8. The connection is of no
   *   further use then.
   */
  push(piece: Uint8Array): Request | undefined {
    this.#append(piece);
    const received = this.#bytes.subarray(0, this.#length);
    const compared = Math.min(received.length, magic.length);
    if (received.compare(magic, 0, compared, 0, compared) !== 0) {
      throw malformed(`begins with the bytes ${received.toString('hex', 0, compared)}, expected "${magic}"`);
    }
    if (received.length < headerLength) return undefined;
    const end = headerLength + received.readUInt32LE(magic.length);
    if (end > maxFrame) throw malformed(`has ${end} bytes, expected at most ${maxFrame}`);
    if (received.length > end) throw malformed(`is followed by ${received.length - end} bytes`);
    return received.length === end ? decodeBody(received.subarray(headerLength)) : undefined;
  }

  #append(piece: Uint8Array): void {
    const needed = this.#length + piece.length;
    if (needed > maxFrame) throw malformed(`has more than ${maxFrame} bytes`);
    if (this.#length === 0) {
      // Most requests come in one piece.
      this.#bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
      this.#length = needed;
      return;
    }
    if (needed > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.min(maxFrame, Math.max(needed, 2 * this.#bytes.length)));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.#length);
    this.#length = needed;
  }
}

function decodeBody(body: Buffer): Request {
  const fields = new Fields(body);
  const name = fields.text(fields.number(1, 'the name'), 'the name');
  const env: Record<string, string> = {};
  for (let left = fields.number(2, 'the number of variables'); left > 0; left--) {
    const variable = fields.text(fields.number(4, 'a variable'), 'a variable');
    const [, key, value] = /^(CNI_[^=]*)=(.*)$/s.exec(variable) ?? [];
    if (key === undefined || value === undefined) throw malformed(`has a variable that is not CNI_KEY=VALUE`);
    // The first one counts, as in getenv(3).
    env[key] ??= value;
  }
  const stdin = fields.text(fields.number(4, 'standard input'), 'standard input');
  fields.end();
  return { name, env, stdin };
}

/** Takes one field after the other off a request's body. */
class Fields {
  readonly #body: Buffer;
  #at = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  number(bytes: 1 | 2 | 4, what: string): number {
    return this.#take(bytes, what).readUIntLE(0, bytes);
  }

  text(length: number, what: string): string {
    const bytes = this.#take(length, what);
    try {
      return utf8.decode(bytes);
    } catch (error) {
      throw new CniError(ErrorCode.DecodingFailure, `${what}: expected UTF-8`, '', { cause: error });
    }
  }

  end(): void {
    const left = this.#body.length - this.#at;
    if (left > 0) throw malformed(`has ${left} bytes after standard input`);
  }

  #take(length: number, what: string): Buffer {
    const end = this.#at + length;
    if (end > this.#body.length) throw malformed(`ends in the midst of ${what}`);
    const bytes = this.#body.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}

function malformed(problem: string): CniError {
  return new CniError(ErrorCode.IoFailure, `the request ${problem}`, 'is the shim of another version than the daemon?');
}

/** @throws {CniError} 5 when it does not fit a frame. */
export function encodeAnswer({ exitStatus, stdout }: Answer): Buffer {
  const length = headerLength + 1 + Buffer.byteLength(stdout);
  if (length > maxFrame) {
    throw new CniError(ErrorCode.IoFailure, `the answer has ${length} bytes, at most ${maxFrame} fit a frame`);
  }
  const frame = Buffer.alloc(length);
  frame.set(magic);
  frame.writeUInt32LE(length - headerLength, magic.length);
  frame.writeUInt8(exitStatus, headerLength);
  frame.write(stdout, headerLength + 1);
  return frame;
}
