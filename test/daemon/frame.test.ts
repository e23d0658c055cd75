import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CniError } from '../../src/cni/error.ts';
import { encodeRequest } from '../../src/daemon/client.ts';
import { encodeAnswer, type Request, RequestReader } from '../../src/daemon/frame.ts';
import { thrownBy } from '../cni/support.ts';

const readAll = (bytes: Uint8Array): Request | undefined => new RequestReader().push(bytes);

const variables = fc.dictionary(
  fc.string({ maxLength: 20 }).map((key) => `CNI_${key.replaceAll('=', '-')}`),
  fc.string({ unit: 'grapheme' }),
  { maxKeys: 8, noNullPrototype: true },
);
const requests = fc.record(
  { name: fc.string({ maxLength: 60 }), env: variables, stdin: fc.string({ unit: 'grapheme', maxLength: 2000 }) },
  { noNullPrototype: true },
);

/** Cuts bytes at some places. */
function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

describe('a request', () => {
  test('is read as it was written, however it arrives', () => {
    fc.assert(
      fc.property(requests, fc.array(fc.nat(), { maxLength: 6 }), (request, cuts) => {
        const reader = new RequestReader();
        const [last, ...earlier] = pieces(encodeRequest(request), cuts).toReversed();
        for (const piece of earlier.toReversed()) {
          const early = reader.push(piece);
          // Pieces that are empty may come after the whole.
          if (early !== undefined) return assert.deepEqual(early, request);
        }
        assert.deepEqual(reader.push(last ?? Buffer.alloc(0)), request);
      }),
      { numRuns: 300 },
    );
  });

  test('counts the first of two variables of one name, as getenv does', () => {
    const bytes = encodeRequest({ name: 'plexus', env: { CNI_A: '1', CNI_B: '2' }, stdin: '' });
    const twice = Buffer.from(bytes.toString('latin1').replace('CNI_B', 'CNI_A'), 'latin1');
    assert.deepEqual(readAll(twice)?.env, { CNI_A: '1' });
  });

  const whole = encodeRequest({ name: 'plexus', env: { CNI_COMMAND: 'ADD' }, stdin: '{}' });
  const changed = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.from(whole);
    change(bytes);
    return bytes;
  };
  const sized = (bytes: Buffer): Buffer => {
    bytes.writeUInt32LE(bytes.length - 8, 4);
    return bytes;
  };
  const hint = 'is the shim of another version than the daemon?';
  const cases: readonly [string, Buffer, readonly [number, string, string]][] = [
    [
      'of another protocol',
      Buffer.from('GET / HTTP/1.1'),
      [5, 'the request begins with the bytes 47455420, expected "PLX1"', hint],
    ],
    [
      'whose first bytes already tell that it is none',
      Buffer.from('PLx'),
      [5, 'the request begins with the bytes 504c78, expected "PLX1"', hint],
    ],
    [
      'that announces more than a frame holds',
      changed((bytes) => bytes.writeUInt32LE(0xffffffff, 4)),
      [5, 'the request has 4294967303 bytes, expected at most 16777216', hint],
    ],
    [
      'with something behind it',
      Buffer.concat([whole, Buffer.from('x')]),
      [5, 'the request is followed by 1 bytes', hint],
    ],
    ['that is empty', sized(Buffer.from(whole.subarray(0, 8))), [5, 'the request ends in the midst of the name', hint]],
    [
      'whose name is longer than the rest',
      changed((bytes) => bytes.writeUInt8(255, 8)),
      [5, 'the request ends in the midst of the name', hint],
    ],
    [
      'with fewer variables than it says',
      changed((bytes) => bytes.writeUInt16LE(2, 15)),
      [5, 'the request has a variable that is not CNI_KEY=VALUE', hint],
    ],
    [
      'with a variable that is longer than the rest',
      changed((bytes) => bytes.writeUInt32LE(0x7fffffff, 17)),
      [5, 'the request ends in the midst of a variable', hint],
    ],
    [
      'with a variable that is none of CNI',
      changed((bytes) => bytes.write('LD_P', 21)),
      [5, 'the request has a variable that is not CNI_KEY=VALUE', hint],
    ],
    [
      'with a configuration shorter than it says',
      changed((bytes) => bytes.writeUInt32LE(3, bytes.length - 6)),
      [5, 'the request ends in the midst of standard input', hint],
    ],
    [
      'with something after its configuration',
      changed((bytes) => bytes.writeUInt32LE(1, bytes.length - 6)),
      [5, 'the request has 1 bytes after standard input', hint],
    ],
    [
      'with a configuration that is no text',
      changed((bytes) => bytes.writeUInt8(0xff, bytes.length - 1)),
      [6, 'standard input: expected UTF-8', ''],
    ],
  ];
  for (const [name, bytes, error] of cases) {
    test(`${name} is refused`, () => {
      assert.deepEqual(
        thrownBy(() => readAll(bytes)),
        error,
      );
    });
  }

  test('that never ends is refused once it is too long', () => {
    const reader = new RequestReader();
    const header = Buffer.from(whole.subarray(0, 8));
    header.writeUInt32LE((16 << 20) - 8, 4);
    assert.equal(reader.push(header), undefined);
    const piece = Buffer.alloc(1 << 20);
    for (let sent = 0; sent < 15; sent++) assert.equal(reader.push(piece), undefined);
    assert.match(thrownBy(() => reader.push(Buffer.alloc((1 << 20) - 7)))[1], /16777216 bytes/);
  });

  test('of random or mutilated bytes is refused or read, and nothing else happens', () => {
    const random = fc.uint8Array({ maxLength: 200 });
    const framed = random.map((body) => sized(Buffer.concat([Buffer.from('PLX1\0\0\0\0'), body])));
    const mutilated = fc
      .tuple(requests, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 5 }))
      .map(([request, changes]) => {
        const bytes = encodeRequest(request);
        for (const [at, value] of changes) bytes.writeUInt8(value, at % bytes.length);
        return bytes;
      });
    fc.assert(
      fc.property(fc.oneof(random, framed, mutilated), fc.array(fc.nat(), { maxLength: 3 }), (bytes, cuts) => {
        const reader = new RequestReader();
        try {
          for (const piece of pieces(Buffer.from(bytes), cuts)) reader.push(piece);
        } catch (error) {
          assert.ok(error instanceof CniError, `${error}`);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('an answer', () => {
  test('is the exit status and what is printed', () => {
    const frame = encodeAnswer({ exitStatus: 1, stdout: 'né' });
    assert.equal(frame.toString('latin1'), 'PLX1\x04\0\0\0\x01n\xc3\xa9');
  });

  test('that does not fit a frame is none', () => {
    const [code, message] = thrownBy(() => encodeAnswer({ exitStatus: 0, stdout: 'x'.repeat(16 << 20) }));
    assert.deepEqual([code, message], [5, 'the answer has 16777225 bytes, at most 16777216 fit a frame']);
  });
});
