import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatIP } from '../../src/net/ip.ts';
import { decodeDatagram, encodeDatagram } from '../../src/plugins/dhcp/v4/datagram.ts';
import { leaseOf } from '../../src/plugins/dhcp/v4/lease.ts';
import { decodeMessage, encodeMessage, type Message, MessageType, Option } from '../../src/plugins/dhcp/v4/message.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const code = fc.integer({ min: 1, max: 254 }).filter((each) => each !== Option.overload && each !== Option.messageType);

const message = fc.record({
  isReply: fc.boolean(),
  xid: fc.nat({ max: 0xffffffff }),
  seconds: fc.nat({ max: 0xffff }),
  broadcast: fc.boolean(),
  clientAddress: bytes(4),
  yourAddress: bytes(4),
  hardwareAddress: bytes(6),
  options: fc
    .array(fc.tuple(code, fc.uint8Array({ maxLength: 600 })), { maxLength: 10 })
    .map((list) => new Map([...list, [Option.messageType, Uint8Array.of(MessageType.ack)]])),
});

/** A message whose bytes can be compared, and read where they differ. */
function readable(each: Message | undefined): unknown {
  if (each === undefined) return undefined;
  const { options, clientAddress, yourAddress, hardwareAddress, ...rest } = each;
  const sorted = [...options].sort(([left], [right]) => left - right);
  return {
    ...rest,
    addresses: [clientAddress, yourAddress, hardwareAddress].map(hexOf),
    options: sorted.map(([key, value]) => [key, hexOf(value)]),
  };
}

const hexOf = (value: Uint8Array): string => Buffer.from(value).toString('hex');

describe('messages of DHCP', () => {
  test('what is written is read, options longer than 255 bytes included', () => {
    fc.assert(
      fc.property(message, (each) => {
        assert.deepEqual(readable(decodeMessage(encodeMessage(each))), readable(each));
      }),
    );
  });

  test('whatever arrives, nothing is read beyond it, and no lease has an address that no host can have', () => {
    const damaged = fc.tuple(message, fc.array(fc.tuple(fc.nat({ max: 1500 }), fc.nat({ max: 255 }))), fc.nat(1500));
    fc.assert(
      fc.property(damaged, ([each, changes, length]) => {
        const packet = encodeMessage(each);
        for (const [place, value] of changes) if (place < packet.length) packet[place] = value;
        const read = decodeMessage(packet.subarray(0, length));
        const lease = read && leaseOf(read, '', 0);
        if (lease === undefined || typeof lease === 'string') return;
        assert.match(lease.address, /^(?!0\.|127\.|22[4-9]\.|2[3-5]\d\.)\d+\.\d+\.\d+\.\d+\/\d+$/);
        assert.ok(lease.renewAt <= lease.rebindAt && lease.rebindAt <= lease.expiresAt);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (value) => {
        decodeMessage(Buffer.from(value));
        decodeDatagram(Buffer.from(value));
      }),
    );
  });

  test('options in file and sname are read where the message says so', () => {
    const packet = encodeMessage({
      isReply: true,
      xid: 7,
      seconds: 0,
      broadcast: false,
      clientAddress: new Uint8Array(4),
      yourAddress: Uint8Array.of(10, 0, 0, 9),
      hardwareAddress: new Uint8Array(6),
      options: new Map([
        [Option.messageType, Uint8Array.of(MessageType.ack)],
        [Option.overload, Uint8Array.of(3)],
        [Option.subnetMask, Uint8Array.of(255, 255)],
      ]),
    });
    packet.set([Option.subnetMask, 2, 255, 0, Option.end], 108);
    packet.set([Option.router, 4, 10, 0, 0, 1, Option.end], 44);
    const read = decodeMessage(packet);
    assert.ok(read);
    const lease = leaseOf(read, '', 0);
    assert.ok(typeof lease === 'object');
    assert.equal(lease.address, '10.0.0.9/24');
    assert.equal(lease.gateway, '10.0.0.1');
  });

  const option = (codeOf: number, ...value: number[]): [number, Uint8Array] => [codeOf, Uint8Array.from(value)];
  const reply = (...options: [number, Uint8Array][]) => ({
    isReply: true,
    xid: 7,
    seconds: 0,
    broadcast: false,
    clientAddress: new Uint8Array(4),
    yourAddress: Uint8Array.of(10, 0, 0, 9),
    hardwareAddress: new Uint8Array(6),
    options: new Map([option(Option.messageType, 5), option(Option.subnetMask, 255, 255, 255, 0), ...options]),
  });

  const leases: readonly [what: string, options: [number, Uint8Array][], expected: object | RegExp][] = [
    ['an hour without a lease time', [], { renewAt: 1_800_000, rebindAt: 3_060_000, expiresAt: 3_600_000 }],
    [
      'the times that are told',
      [option(51, 0, 0, 0, 100), option(58, 0, 0, 0, 9), option(59, 0, 0, 0, 20)],
      { renewAt: 9_000, rebindAt: 20_000, expiresAt: 100_000 },
    ],
    [
      'no time later than the next',
      [option(51, 0, 0, 0, 100), option(58, 0, 0, 0, 99), option(59, 0, 0, 1, 0)],
      { renewAt: 50_000, rebindAt: 85_000, expiresAt: 100_000 },
    ],
    ['a lease without end', [option(51, 255, 255, 255, 255)], { expiresAt: Number.MAX_SAFE_INTEGER }],
    ['a mask with holes refused', [option(1, 255, 0, 255, 0)], /Subnet Mask not found/],
    ['no mask refused', [[1, new Uint8Array()]], /Subnet Mask not found/],
    [
      'a route on the link',
      [option(121, 16, 10, 9, 0, 0, 0, 0)],
      { routes: [{ dst: '10.9.0.0/16', gw: '0.0.0.0', scope: 253 }] },
    ],
    [
      'a torn list of routes passed over',
      [option(121, 16, 10, 9, 10, 0), option(3, 10, 0, 0, 1)],
      { routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }] },
    ],
    ['a prefix that is too long passed over', [option(121, 33, 10, 9, 0, 0, 0, 10, 0, 0, 1)], { routes: [] }],
    ['a list of routes without end passed over', [[121, Buffer.alloc(5 * 1001)]], { routes: [] }],
    ['a domain with a line break passed over', [[15, Buffer.from('a\nnameserver 6.6.6.6')]], { dns: {} }],
    ['a name that points at itself passed over', [option(119, 1, 97, 0xc0, 2)], { dns: {} }],
  ];
  for (const [what, options, expected] of leases) {
    test(`a lease is read with ${what}`, () => {
      const lease = leaseOf(reply(...options), '', 0);
      if (expected instanceof RegExp) assert.match(String(lease), expected);
      else assert.partialDeepStrictEqual(lease, expected);
    });
  }
});

describe('datagrams', () => {
  const datagram = {
    source: { ip: { family: 4, bytes: Uint8Array.of(10, 0, 0, 1) }, port: 67 },
    destination: { ip: { family: 4, bytes: Uint8Array.of(10, 0, 0, 9) }, port: 68 },
  } as const;

  test('what is written is read, and not when a byte was changed', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (value, place, flip) => {
          const packet = encodeDatagram({ ...datagram, payload: Buffer.from(value) });
          const read = decodeDatagram(packet);
          assert.equal(read?.payload.toString('hex'), Buffer.from(value).toString('hex'));
          assert.equal(formatIP(read.source.ip), '10.0.0.1');
          // Without its checksum, nobody can tell.
          const at = place % packet.length;
          packet[at] = (packet[at] ?? 0) ^ flip;
          if (packet.readUInt16BE(26) === 0) return;
          const again = decodeDatagram(packet);
          assert.ok(again === undefined || (at >= 26 && at < 28));
        },
      ),
    );
  });

  test('a checksum that was left to a card that the packet never came to is taken', () => {
    const packet = encodeDatagram({ ...datagram, payload: Buffer.from('hello') });
    // The sum of the pseudo-header: addresses, protocol 17, length 13.
    let sum = 0x0a00 + 0x0001 + 0x0a00 + 0x0009 + 17 + 13;
    packet.writeUInt16BE(sum, 26);
    assert.equal(decodeDatagram(packet)?.payload.toString(), 'hello');
    sum += 1;
    packet.writeUInt16BE(sum, 26);
    assert.equal(decodeDatagram(packet), undefined);
  });
});
