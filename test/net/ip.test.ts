import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  contains,
  equalIP,
  formatIP,
  formatPrefix,
  fromBigInt,
  hostPrefix,
  type IP,
  lastOf,
  networkOf,
  parseIP,
  parsePrefix,
  toBigInt,
} from '../../src/net/ip.ts';

const address: fc.Arbitrary<IP> = fc.oneof(
  fc.record({ family: fc.constant(4 as const), bytes: fc.uint8Array({ minLength: 4, maxLength: 4 }) }),
  fc.record({
    family: fc.constant(6 as const),
    // Runs of zeros are where the texts differ; 0 and 0xffff are what the mapped ones are known by.
    bytes: fc
      .array(fc.oneof(fc.constantFrom(0, 0xffff), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
      .map((words) => Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]))),
  }),
);
const prefix = address.chain((ip) => fc.record({ ip: fc.constant(ip), length: fc.nat(ip.family === 4 ? 32 : 128) }));

/** IPv4 in IPv6's form, ::ffff:0:0/96. */
const isMapped = ({ family, bytes }: IP): boolean =>
  family === 6 && bytes.every((byte, i) => i >= 12 || byte === (i < 10 ? 0 : 0xff));

test('an address is read back from its text, which is one that others read as well', () => {
  fc.assert(
    fc.property(address, (ip) => {
      const text = formatIP(ip);
      assert.ok(ip.family === 4 ? isIPv4(text) : isIPv6(text), text);
      if (isMapped(ip)) assert.throws(() => parseIP(text), /IPv4/);
      else assert.ok(equalIP(parseIP(text), ip), text);
    }),
  );
});

test('texts of IPv6 are those of RFC 5952', () => {
  for (const [text, canonical] of [
    ['0:0:0:0:0:0:0:0', '::'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['fe80::0001', 'fe80::1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ] as const) {
    assert.equal(formatIP(parseIP(text)), canonical);
  }
});

test('what is no address, or one that others read differently, is refused with the text', () => {
  for (const text of [
    '',
    ' ',
    '1',
    '10.1',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.08',
    '0x0a.0.0.1',
    '10.0.0.1 ',
    '10.0.0.1/24',
    '10.0.0.1.',
    '10.0.0.-1',
    '１０.0.0.1',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
    'fd00::g',
    '12345::',
    '::1.2.3',
    '::1.2.3.256',
    '::01.2.3.4',
    '[::1]',
    '::ffff:10.0.0.1',
    '::ffff:a00:1',
    'localhost',
  ]) {
    assert.throws(
      () => parseIP(text),
      (error: unknown) => error instanceof Error && error.message.includes(`"${text}"`),
      text,
    );
  }
});

test('no text is read that the C library would not read, nor otherwise than it would', () => {
  const piece = fc.constantFrom(
    '0',
    '1',
    '10',
    '255',
    '256',
    '00',
    '01',
    'f',
    'ffff',
    '0x1',
    ':',
    '::',
    '.',
    '%',
    '/',
    ' ',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 16 }), (pieces) => {
      const text = pieces.join('');
      let family: 4 | 6 | undefined;
      try {
        ({ family } = parseIP(text));
      } catch {
        return;
      }
      assert.ok(family === 4 ? isIPv4(text) : isIPv6(text), text);
    }),
    { numRuns: 5000 },
  );
});

test('a prefix is read back from its text', () => {
  fc.assert(
    fc.property(prefix, (one) => {
      if (isMapped(one.ip)) return;
      const again = parsePrefix(formatPrefix(one));
      assert.ok(equalIP(again.ip, one.ip));
      assert.equal(again.length, one.length);
    }),
  );
});

test('what is no prefix is refused', () => {
  for (const text of [
    '',
    '/',
    '10.0.0.1',
    '10.0.0.1/',
    '/24',
    '10.0.0.1/33',
    '10.0.0.1/-1',
    '10.0.0.1/024',
    '10.0.0.1/2 4',
    '10.0.0.1/24/24',
    '10.0.0.1/1e1',
    'fd00::/129',
    'fd00::/999',
    'fd00::%eth0/64',
    '10.0.0.1/255.255.255.0',
    '::ffff:10.0.0.0/120',
  ]) {
    assert.throws(
      () => parsePrefix(text),
      (error: unknown) =>
        error instanceof Error && !(error instanceof RangeError) && error.message.length > text.length,
      text,
    );
  }
});

test('the addresses of a prefix are those from its first to its last', () => {
  fc.assert(
    fc.property(prefix, address, (one, ip) => {
      const [first, last] = [networkOf(one), lastOf(one)];
      const size = 1n << BigInt((one.ip.family === 4 ? 32 : 128) - one.length);
      assert.equal(toBigInt(last) - toBigInt(first) + 1n, size);
      assert.equal(toBigInt(first) % size, 0n);
      for (const inside of [one.ip, first, last]) assert.ok(contains(one, inside));
      const between = ip.family === one.ip.family && toBigInt(ip) >= toBigInt(first) && toBigInt(ip) <= toBigInt(last);
      assert.equal(contains(one, ip), between);
    }),
  );
});

test('addresses and numbers are one and the same, within the family', () => {
  fc.assert(
    fc.property(address, (ip) => {
      assert.ok(equalIP(fromBigInt(ip.family, toBigInt(ip)), ip));
    }),
  );
  assert.equal(formatIP(fromBigInt(4, 0x0a000001n)), '10.0.0.1');
  for (const [family, value] of [
    [4, -1n],
    [4, 1n << 32n],
    [6, 1n << 128n],
  ] as const) {
    assert.throws(() => fromBigInt(family, value), RangeError);
  }
  assert.ok(!equalIP(parseIP('0.0.0.1'), parseIP('::1')), 'of two families, never equal');
  assert.deepEqual([hostPrefix(parseIP('10.0.0.1')).length, hostPrefix(parseIP('::1')).length], [32, 128]);
});
