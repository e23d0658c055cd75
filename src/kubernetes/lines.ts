import type { Readable } from 'node:stream';

/** An object of Kubernetes is at most 1.5 MiB in etcd; as JSON with escapes it can be longer. */
const maxLine = 16 * 1024 * 1024;

/**
 * Splits a stream into lines. Holds one line at most, and reads on only when the caller does.
 *
 * @param silence Milliseconds without a byte after which `onSilence` is called, once.
 * @throws {Error} for a line that is too long.
 */
export async function* linesOf(
  stream: Readable,
  silence: number,
  onSilence: () => void,
): AsyncGenerator<string, void, void> {
  const timer = setTimeout(onSilence, silence);
  let pending: Buffer[] = [];
  let length = 0;
  try {
    for await (const data of stream) {
      timer.refresh();
      let chunk = Buffer.from(data);
      for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a)) {
        const line = Buffer.concat([...pending, chunk.subarray(0, at)]).toString();
        chunk = chunk.subarray(at + 1);
        pending = [];
        length = 0;
        if (line.trim() !== '') yield line;
      }
      length += chunk.length;
      if (length > maxLine) throw new Error(`a line is longer than ${maxLine} bytes`);
      if (chunk.length > 0) pending.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
}
