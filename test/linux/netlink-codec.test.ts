import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addresses } from '../../src/linux/address.ts';
import { isKernelError } from '../../src/linux/errors.ts';
import { links } from '../../src/linux/link.ts';
import { neighbours } from '../../src/linux/neighbour.ts';
import * as attribute from '../../src/linux/netlink/attribute.ts';
import { decodeMessages, encodeMessage } from '../../src/linux/netlink/message.ts';
import type { Request } from '../../src/linux/netlink/request.ts';
import { routes } from '../../src/linux/route.ts';
import { Rtnetlink } from '../../src/linux/rtnetlink.ts';
import { parseIP } from '../../src/net/ip.ts';
import { testNamespace } from '../support/namespace.ts';
import { create, ipChange } from './support.ts';

const { Attributes } = attribute;
const type = fc.nat(0x3fff);
const data = fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array));

test('attributes are read back as they were written, of one type the last', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(type, data)), (list) => {
      const encoded = Buffer.concat(list.map(([each, value]) => attribute.bytes(each, value)));
      assert.equal(encoded.length % 4, 0);
      assert.deepEqual([...attribute.eachAttribute(encoded)], list);
      const decoded = Attributes.decode(encoded);
      for (const [each, value] of new Map(list)) assert.deepEqual(decoded.bytes(each), value);
    }),
  );
});

test('numbers, texts and nests are read back as they were written', () => {
  const u = (bits: number) => fc.integer({ min: 0, max: 2 ** bits - 1 });
  const word = fc.string({ unit: 'grapheme' });
  fc.assert(
    fc.property(u(8), u(16), u(16), u(32), word, (a, b, c, d, e) => {
      const nest = attribute.nested(9, [
        attribute.u8(1, a),
        attribute.u16(2, b),
        attribute.be16(3, c),
        attribute.u32(4, d),
        attribute.text(5, e),
        attribute.flag(6),
      ]);
      const read = Attributes.decode(nest).nested(9);
      const found = [read?.u8(1), read?.u16(2), read?.be16(3), read?.u32(4), read?.text(5)];
      assert.deepEqual(found, [a, b, c, d, e]);
      assert.equal(read?.s32(4), d | 0);
      assert.deepEqual([read?.has(6), read?.has(7)], [true, false]);
    }),
  );
});

test('what does not fit into an attribute is refused, not cut', () => {
  for (const write of [
    () => attribute.u8(1, 256),
    () => attribute.u8(1, -1),
    () => attribute.u16(1, 65_536),
    () => attribute.be16(1, -1),
    () => attribute.u32(1, 2 ** 32),
    () => attribute.u32(1, -1),
    () => attribute.bytes(1, Buffer.alloc(65_532)),
  ]) {
    assert.throws(write, RangeError);
  }
  assert.throws(() => attribute.text(1, 'net1\0'), /zero byte/);
});

test('values that are shorter than asked for are absent', () => {
  fc.assert(
    fc.property(data, (value) => {
      const read = Attributes.decode(attribute.bytes(1, value));
      assert.equal(read.u8(1) === undefined, value.length < 1);
      assert.equal(read.u16(1) === undefined, value.length < 2);
      assert.equal(read.be16(1) === undefined, value.length < 2);
      assert.equal(read.u32(1) === undefined, value.length < 4);
      assert.equal(read.s32(1) === undefined, value.length < 4);
      assert.equal(typeof read.text(1), 'string');
      assert.equal(read.u32(2), undefined);
    }),
  );
});

test('messages are read back as they were written; a cut datagram gives those that are whole', () => {
  const message = fc.record(
    { type: fc.nat(0xffff), flags: fc.nat(0xffff), sequence: fc.nat(2 ** 31), payload: data },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(message), fc.nat(500), (messages, cut) => {
      const datagram = Buffer.concat(messages.map(encodeMessage));
      assert.deepEqual([...decodeMessages(datagram)], messages);
      const some = [...decodeMessages(datagram.subarray(0, cut))];
      assert.deepEqual(some, messages.slice(0, some.length));
    }),
  );
});

test('no bytes at all make the readers fail, or read outside of them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (array) => {
      const buffer = Buffer.from(array);
      for (const { payload } of decodeMessages(buffer)) Attributes.decode(payload);
      for (const [, value] of attribute.eachAttribute(buffer)) Attributes.decode(value).nested(1)?.text(1);
    }),
  );
});

/** Each kind of answer, as the kernel really gives them, and what reads it. */
async function realAnswers(): Promise<{ readonly request: Request<unknown>; readonly payloads: readonly Buffer[] }[]> {
  await using home = await testNamespace();
  using netlink = Rtnetlink.open(home.namespace);
  const { index } = await create(netlink, 'ens6', { type: 'veth', peer: { name: 'ens6p' } });
  await create(netlink, 'br0', { type: 'bridge' });
  await create(netlink, 'vx0', { type: 'vxlan', id: 7, group: parseIP('ff02::1:7'), link: index, port: 4789 });
  await netlink.run(links.create({ name: 'mv0', parent: index, kind: { type: 'macvlan', mode: 'vepa' } }));
  await ipChange(home.path, 'address', 'add', '10.0.0.1', 'peer', '10.0.0.2/24', 'dev', 'ens6');
  await ipChange(home.path, 'address', 'add', 'fd00::1/64', 'dev', 'ens6', 'nodad');
  const hops = ['nexthop', 'via', '10.0.0.3', 'dev', 'ens6', 'onlink', 'nexthop', 'via', '10.0.0.4', 'dev', 'ens6'];
  await ipChange(home.path, 'route', 'add', '10.1.0.0/16', 'mtu', '1400', 'advmss', '1360', ...hops);
  await ipChange(home.path, 'route', 'add', '10.2.0.0/16', 'via', 'inet6', 'fd00::5', 'dev', 'ens6');
  await ipChange(home.path, 'neighbour', 'add', '10.0.0.9', 'lladdr', '02:00:00:00:00:09', 'dev', 'ens6');
  const requests = [links.list(), addresses.list(), routes.list(), neighbours.list(), links.get({ name: 'vx0' })];
  return await Promise.all(
    requests.map(async (request) => {
      const [payloads] = await netlink.run<[Request<readonly Buffer[]>]>({ ...request, decode: (each) => each });
      return { request, payloads };
    }),
  );
}

test('whatever bytes of an answer are changed or missing, it is read, left out, or a KernelError', async () => {
  const answers = await realAnswers();
  const real = answers.flatMap(({ request, payloads }) => payloads.map((payload) => ({ request, payload })));
  assert.ok(real.length > 20);
  for (const { request, payload } of real) {
    for (let length = 0; length <= payload.length; length++) read(request, payload.subarray(0, length));
  }
  const edits = fc.array(fc.tuple(fc.nat(1023), fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 4, 0xff))), {
    maxLength: 8,
  });
  fc.assert(
    fc.property(fc.constantFrom(...real), edits, ({ request, payload }, changes) => {
      const copy = Buffer.from(payload);
      for (const [at, byte] of changes) copy[at % copy.length] = byte;
      read(request, copy);
    }),
    { numRuns: 5000 },
  );
  fc.assert(
    fc.property(fc.constantFrom(...answers), fc.array(fc.uint8Array({ maxLength: 200 })), ({ request }, payloads) =>
      read(request, ...payloads.map((payload) => Buffer.from(payload))),
    ),
  );
});

function read(request: Request<unknown>, ...payloads: readonly Buffer[]): void {
  try {
    request.decode(payloads);
  } catch (error) {
    assert.ok(isKernelError(error, 'EBADMSG'), String(error));
  }
}

test('a list is of what was asked for, also where the kernel tells everything', async () => {
  const [, address, route, neighbour] = await realAnswers();
  for (const family of [4, 6] as const) {
    const lists = [
      addresses
        .list({ family })
        .decode(address?.payloads ?? [])
        .map((each) => each.address.ip.family),
      routes
        .list({ family })
        .decode(route?.payloads ?? [])
        .map((each) => each.family),
      neighbours
        .list({ family })
        .decode(neighbour?.payloads ?? [])
        .map((each) => each.ip.family),
    ];
    for (const list of lists.slice(0, family === 4 ? 3 : 2)) assert.ok(list.length > 0);
    assert.deepEqual(new Set(lists.flat()), new Set([family]));
  }
  for (const index of [1, 2]) {
    const lists = [
      addresses
        .list({ index })
        .decode(address?.payloads ?? [])
        .map((each) => each.index),
      routes
        .list({ index })
        .decode(route?.payloads ?? [])
        .map((each) => each.index),
      neighbours
        .list({ index })
        .decode(neighbour?.payloads ?? [])
        .map((each) => each.index),
    ];
    for (const each of lists.flat()) assert.equal(each, index);
  }
});

test('an address of one family in a message of the other is left out', async () => {
  const answers = await realAnswers();
  for (const index of [1, 2, 3]) {
    const answer = answers[index] ?? assert.fail();
    const swapped = answer.payloads.map((payload) => {
      const copy = Buffer.from(payload);
      copy[0] = copy[0] === 2 ? 10 : 2;
      return copy;
    });
    for (const found of [answer.request.decode(swapped)].flat()) {
      assert.ok(typeof found === 'object' && found !== null && !('ip' in found) && !('address' in found), 'left out');
      assert.ok(!('destination' in found) || found.destination === undefined, 'a default route has no address');
    }
  }
});
