import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { encodeAnswer, type Request } from '../../src/daemon/frame.ts';
import { type TestDirectory, testDirectory } from '../support/directory.ts';
import { buildSanitized, callShim, fakeDaemon, type Printed } from './shim.ts';

/*
 * The shim, built to end with a report on standard error when it reads or writes where it must not, or computes what C
 * does not define, is given what nobody sends.
 */

const timeout = 120_000;

/** The shim has no heap of its own to leak, and looking for leaks is not possible everywhere. */
const sanitizer = { ASAN_OPTIONS: 'detect_leaks=0' };

let binary: string;
let directory: TestDirectory;

before(async () => {
  directory = await testDirectory();
  binary = await buildSanitized(directory.path);
});

after(() => directory[Symbol.asyncDispose]());

/** Each comes with a number, so that the fake daemon knows what to answer. */
const batch = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(arbitrary, { minLength: 8, maxLength: 8 });

function assertCniError({ status, stdout, stderr }: Printed): Readonly<Record<string, unknown>> {
  assert.deepEqual([status, stderr], [1, '']);
  const error: unknown = JSON.parse(stdout.toString());
  assert.ok(typeof error === 'object' && error !== null && 'code' in error && 'msg' in error && 'cniVersion' in error);
  assert.match(String(error.cniVersion), /^[0-9.]{1,15}$/);
  assert.ok([4, 5, 7, 11].includes(Number(error.code)), stdout.toString());
  return { ...error };
}

describe('answers that nobody sends', { timeout }, () => {
  const length = fc.oneof(
    fc.nat({ max: 40 }),
    fc.constantFrom(0, 1, 0xffff, (16 << 20) - 8, (16 << 20) - 7, 0x7fffffff, 0xffffffff),
  );
  const framed = fc.tuple(length, fc.uint8Array({ maxLength: 60 })).map(([announced, body]) => {
    const header = Buffer.from('PLX1\0\0\0\0');
    header.writeUInt32LE(announced, 4);
    return Buffer.concat([header, body]);
  });
  const whole = fc
    .record({ exitStatus: fc.nat({ max: 255 }), stdout: fc.string({ unit: 'binary', maxLength: 3000 }) })
    .map(encodeAnswer);
  const mutilated = fc.tuple(whole, fc.nat(), fc.nat({ max: 255 })).map(([frame, at, value]) => {
    const bytes = Buffer.from(frame);
    bytes.writeUInt8(value, at % Math.min(bytes.length, 16));
    return bytes;
  });
  const answers = fc
    .oneof(fc.uint8Array({ maxLength: 100 }), framed, whole, mutilated)
    .map((bytes) => Buffer.from(bytes));

  /** What the shim must make of an answer, by the layout of the frame alone. */
  function expectedOf(answer: Buffer): { readonly status: number; readonly stdout: Buffer } | 'error' {
    if (answer.length < 8 || answer.toString('latin1', 0, 4) !== 'PLX1') return 'error';
    const following = answer.readUInt32LE(4);
    if (following < 1 || following > (16 << 20) - 8 || answer.length < 8 + following) return 'error';
    return { status: answer.readUInt8(8), stdout: answer.subarray(9, 8 + following) };
  }

  test('are passed on whole, or are an error', async () => {
    const path = `${directory.path}/answers.sock`;
    let sent: readonly Buffer[] = [];
    const answerOf = ({ env }: Request): Buffer => sent[Number(env['CNI_CONTAINERID'])] ?? Buffer.alloc(0);
    await using _ = await fakeDaemon(path, answerOf);
    await fc.assert(
      fc.asyncProperty(batch(answers), async (some) => {
        sent = some;
        const calls = some.map((_answer, index) =>
          callShim({
            binary,
            env: { CNI_COMMAND: 'ADD', CNI_CONTAINERID: String(index), PLEXUS_SOCKET: path, ...sanitizer },
            stdin: '{}',
          }),
        );
        for (const [index, printed] of (await Promise.all(calls)).entries()) {
          const expected = expectedOf(some[index] ?? Buffer.alloc(0));
          if (expected === 'error') assertCniError(printed);
          else assert.deepEqual(printed, { ...expected, stdout: Buffer.from(expected.stdout), stderr: '' });
        }
      }),
      { numRuns: 25 },
    );
  });
});

describe('input that nobody gives', { timeout }, () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"',
      '\\',
      '\0',
      ' ',
      '\n',
      '"cniVersion"',
      '"socketDir"',
      '"daemonSocketDir"',
    ),
    fc.constantFrom('"timeoutSeconds"', '"connectSeconds"', '"1.0.0"', '"/nowhere"', '0', '1.5', 'null', '\\"', '"x'),
    fc.string({ unit: 'binary', maxLength: 8 }),
  );
  const stdin = fc.oneof(
    fc.array(piece, { maxLength: 40 }).map((pieces) => Buffer.from(pieces.join(''))),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.json().map((json) => Buffer.from(json)),
  );
  const text = fc.string({ unit: 'binary', maxLength: 150 }).map((each) => each.replaceAll('\0', ''));
  const env = fc.record(
    {
      CNI_COMMAND: fc.oneof(fc.constantFrom('ADD', 'VERSION', 'x'), text),
      CNI_ARGS: text,
      // Never where a daemon may be.
      PLEXUS_SOCKET: text.map((name) => `/nowhere/${name}`),
      PLEXUS_CONNECT_SECONDS: fc.oneof(fc.constantFrom('0', '0.01', '00', '.', '1.', '99999999999999999999999'), text),
      // Bounds the other as well.
      PLEXUS_TIMEOUT_SECONDS: fc.oneof(
        fc.constantFrom('0', '0.05', '0.05'),
        text.map((each) => `${each}s`),
      ),
    },
    { requiredKeys: ['PLEXUS_SOCKET', 'PLEXUS_TIMEOUT_SECONDS'], noNullPrototype: true },
  );
  const as = fc.oneof(fc.constantFrom('plexus', 'multus', 'macvlan', ''), text, fc.constant('x'.repeat(300)));

  test('is an error in JSON, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(batch(fc.record({ stdin, env, as })), async (calls) => {
        const printed = await Promise.all(
          calls.map((each) => callShim({ binary, ...each, env: { ...each.env, ...sanitizer } })),
        );
        for (const [index, each] of printed.entries()) {
          const about = calls[index]?.env.CNI_COMMAND ? undefined : /^CNI plugin /;
          if (about !== undefined && each.status === 0) assert.match(each.stderr, about);
          else assertCniError(each);
        }
      }),
      { numRuns: 25 },
    );
  });

  test('is carried to the byte where it fits a frame', async () => {
    const path = `${directory.path}/input.sock`;
    const seen = new Map<string, Request>();
    await using _ = await fakeDaemon(path, (request) => {
      seen.set(request.env['CNI_CONTAINERID'] ?? '', request);
      return encodeAnswer({ exitStatus: 0, stdout: '' });
    });
    const variables = fc.dictionary(
      fc.stringMatching(/^[A-Z_]{1,8}$/).map((key) => `CNI_X${key}`),
      text.map((value) => Buffer.from(value).toString()),
      { maxKeys: 6, noNullPrototype: true },
    );
    // What is no UTF-8 the daemon refuses: see frame.test.ts.
    const given = fc.string({ unit: 'grapheme', maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(batch(fc.record({ stdin: given, variables })), async (calls) => {
        seen.clear();
        await Promise.all(
          calls.map(async ({ stdin: input, variables: more }, index) => {
            const own = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: String(index), ...more };
            const wire = { ...own, PLEXUS_SOCKET: path, ...sanitizer };
            const printed = await callShim({ binary, as: 'macvlan', env: wire, stdin: input });
            assert.deepEqual(printed, { status: 0, stdout: Buffer.alloc(0), stderr: '' });
            assert.deepEqual(seen.get(String(index)), { name: 'macvlan', env: own, stdin: input });
          }),
        );
      }),
      { numRuns: 15 },
    );
  });
});
