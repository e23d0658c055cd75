import { decodeResult, encodeResult } from '../../cni/convert.ts';
import type { JsonObject } from '../../cni/json.ts';
import { parseJson } from '../../cni/parse-json.ts';
import { parseWith } from '../../cni/schema.ts';
import type { Request } from '../frame.ts';
import type { Waiting } from './directory.ts';
import { type UsedNetwork, usedNetworkSchema } from './prepared.ts';
import { decodeRequest } from './request.ts';

/** What the shim noted of an ADD that it carried out by itself. */
export interface AddRecord {
  readonly request: Request;
  readonly network: UsedNetwork;
  /** What the last plugin printed; undefined while not all had succeeded. */
  readonly result: string | undefined;
}

const headerLength = 8;

/**
 * Reads a record of shim/alone.c. A result of which the end is missing was being written when the machine or the process
 * died: the runtime has no answer, and it counts as none.
 *
 * @throws {Error} saying what is wrong with it.
 */
export function decodeRecord(bytes: Buffer, waiting: Waiting): AddRecord {
  const frame = sectionAt(bytes, 0, 'PLX1');
  if (frame === undefined) throw new Error(`the record ends after ${bytes.length} bytes, in the midst of the request`);
  const network = sectionAt(bytes, frame.end, 'PLXN');
  if (network === undefined) throw new Error('the record has the request alone');
  const result = network.end === bytes.length ? undefined : sectionAt(bytes, network.end, 'PLXR');
  if (result !== undefined && result.end !== bytes.length) throw new Error('the record goes on after the result');
  return {
    request: decodeRequest(bytes.subarray(0, frame.end), waiting),
    network: parseWith(usedNetworkSchema, parseJson(network.content.toString(), waiting.file), waiting.file),
    result: result?.content.toString(),
  };
}

interface Section {
  readonly content: Buffer;
  /** Where it ends. */
  readonly end: number;
}

/** @returns undefined where its end is missing. */
function sectionAt(bytes: Buffer, start: number, magic: string): Section | undefined {
  const found = bytes.subarray(start, start + magic.length).toString('latin1');
  if (!magic.startsWith(found)) throw new Error(`expected "${magic}" at byte ${start} of the record`);
  if (bytes.length < start + headerLength) return undefined;
  const end = start + headerLength + bytes.readUInt32LE(start + magic.length);
  return end <= bytes.length ? { content: bytes.subarray(start + headerLength, end), end } : undefined;
}

/**
 * The result as the daemon's own ADD would have it in the journal.
 *
 * @param version The network's.
 * @returns undefined for what is none: the runtime cannot have taken it for one.
 */
export function resultForJournal(printed: string, version: string): JsonObject | undefined {
  try {
    return encodeResult(decodeResult(parseJson(printed, 'result'), version, 'result'), version);
  } catch {
    return undefined;
  }
}
