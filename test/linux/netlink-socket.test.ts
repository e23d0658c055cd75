import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KernelError } from '../../src/linux/errors.ts';
import { text } from '../../src/linux/netlink/attribute.ts';
import {
  decodeMessages,
  encodeMessage,
  type Message,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
} from '../../src/linux/netlink/message.ts';
import { change, dump, get } from '../../src/linux/netlink/request.ts';
import { NetlinkSocket } from '../../src/linux/netlink/socket.ts';
import type { Transport } from '../../src/linux/netlink/transport.ts';

const EAGAIN = 11;
const EBUSY = 16;
const ENOBUFS = 105;
const EMSGSIZE = 90;

/** A kernel of the test's own: what is sent is answered with datagrams, or errors, that are received in their order. */
class FakeKernel implements Transport {
  readonly queue: (Buffer | KernelError)[] = [];
  readonly sent: Message[][] = [];
  closed = 0;
  readonly #answer: (requests: readonly Message[], kernel: FakeKernel) => void;

  constructor(answer: (requests: readonly Message[], kernel: FakeKernel) => void) {
    this.#answer = answer;
  }

  async send(data: Buffer): Promise<void> {
    const requests = [...decodeMessages(data)];
    this.sent.push(requests);
    this.#answer(requests, this);
  }

  receiveNow(): Buffer | undefined {
    const next = this.queue.shift();
    if (next instanceof KernelError) throw next;
    return next;
  }

  async receive(): Promise<Buffer> {
    const next = this.receiveNow();
    if (next === undefined) throw new KernelError('receive', EAGAIN);
    return next;
  }

  [Symbol.dispose](): void {
    this.closed++;
  }

  /** One datagram. */
  readonly says = (...messages: readonly Buffer[]): void => {
    this.queue.push(Buffer.concat(messages));
  };
}

const header = Buffer.alloc(4);
const word = (value: number): Buffer => {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32LE(value);
  return buffer;
};
const message = (sequence: number, value: number, flags = 0, type = 99): Buffer =>
  encodeMessage({ type, flags, sequence, payload: word(value) });
const acknowledge = (sequence: number, errno = 0): Buffer =>
  encodeMessage({ type: NLMSG_ERROR, flags: 0, sequence, payload: Buffer.concat([word(-errno), Buffer.alloc(16)]) });
const done = (sequence: number, flags = 0, errno = 0): Buffer =>
  encodeMessage({ type: NLMSG_DONE, flags, sequence, payload: word(-errno) });

const decode = (payload: Buffer): number => payload.readInt32LE();
const list = dump('list numbers', 50, [header], decode);
const one = get('look up a number', 51, [header], decode);
const step = (name: string) => change(name, 52, 0, [header]);

test('each request of a batch gets its own answer, in whatever datagrams the answers come', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ isQuestion: fc.boolean(), errno: fc.constantFrom(0, 0, 16, 17) }), { maxLength: 80 }),
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }),
      async (requests, sizes) => {
        let turn = 0;
        const kernel = new FakeKernel((received, { says }) => {
          const answers = received.flatMap(({ sequence }) => {
            const request = requests[turn++];
            const failed = request?.errno ?? 0;
            const object = request?.isQuestion && failed === 0 ? [message(sequence, turn)] : [];
            return [...object, acknowledge(sequence, failed)];
          });
          for (let i = 0; answers.length > 0; i++) says(...answers.splice(0, sizes[i % sizes.length]));
        });
        using socket = new NetlinkSocket(kernel);
        const outcomes = await socket.batch(
          requests.map(({ isQuestion }, i) => (isQuestion ? one : step(`step ${i}`))),
        );
        assert.deepEqual(
          outcomes.map((outcome) => (outcome.ok ? outcome.value : outcome.error.errno)),
          requests.map(({ isQuestion, errno }, i) => errno || (isQuestion ? i + 1 : undefined)),
        );
        for (const datagram of kernel.sent) assert.ok(datagram.length <= 32);
      },
    ),
  );
});

test('a list that changed while it was told is asked for again', async () => {
  for (const interruptedMessage of [0, 1, 2]) {
    const kernel = new FakeKernel(([request], { says, sent }) => {
      const { sequence = 0 } = request ?? {};
      const flagsOf = (i: number) => (sent.length === 1 && i === interruptedMessage ? NLM_F_DUMP_INTR : 0);
      says(message(sequence, sent.length, flagsOf(0)));
      says(message(sequence, 7, flagsOf(1)), done(sequence, flagsOf(2)));
    });
    using socket = new NetlinkSocket(kernel);
    assert.deepEqual(await socket.dump(list), { ok: true, value: [2, 7] });
  }
});

test('a list that changes each time is an error, not half a list', async () => {
  const kernel = new FakeKernel(([request], { says }) => {
    const { sequence = 0 } = request ?? {};
    says(message(sequence, 1, NLM_F_DUMP_INTR), done(sequence));
  });
  using socket = new NetlinkSocket(kernel);
  const outcome = await socket.dump(list);
  assert.ok(!outcome.ok);
  assert.equal(outcome.error.code, 'EINTR');
  assert.match(outcome.error.message, /^list numbers: .*the list changed each of the 10 times/);
});

test('a list that ends with an error is one, whether the kernel says so at once or at the end', async () => {
  for (const last of [acknowledge(1, EBUSY), done(1, 0, EBUSY), done(1, NLM_F_DUMP_INTR, EBUSY)]) {
    const kernel = new FakeKernel((_, { says }) => says(message(1, 5), last));
    using socket = new NetlinkSocket(kernel);
    const outcome = await socket.dump(list);
    assert.ok(!outcome.ok && outcome.error.code === 'EBUSY');
  }
});

test('messages that answer something else are passed over: other sequence numbers, other types, broken ones', async () => {
  const broken = message(1, 1);
  broken.writeUInt32LE(1000, 0);
  const noise = [message(0, 1), message(9, 1), acknowledge(0), acknowledge(77, 5), done(1), Buffer.alloc(3), broken];
  const kernel = new FakeKernel((_, { says }) => {
    for (const each of noise) says(each);
    says();
    says(message(1, 0, 0, 1), message(1, 42), acknowledge(1), acknowledge(1, 5));
  });
  using socket = new NetlinkSocket(kernel);
  assert.deepEqual(await socket.batch([one]), [{ ok: true, value: 42 }]);
});

test('an answer without an object, with half of one, or an acknowledgement cut short, is an error of that request alone', async () => {
  const short = encodeMessage({ type: 99, flags: 0, sequence: 2, payload: Buffer.alloc(3) });
  const cut = encodeMessage({ type: NLMSG_ERROR, flags: 0, sequence: 3, payload: Buffer.alloc(0) });
  const kernel = new FakeKernel((_, { says }) => {
    says(acknowledge(1), short, acknowledge(2), cut, acknowledge(4));
  });
  using socket = new NetlinkSocket(kernel);
  const outcomes = await socket.batch([one, one, step('a change'), step('another')]);
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.ok ? '' : outcome.error.code)),
    ['EBADMSG', 'EBADMSG', 'EBADMSG', ''],
  );
});

test('after an exchange that failed, the next one is not told the answers of the first', async () => {
  let sends = 0;
  const kernel = new FakeKernel((received, { says, queue }) => {
    const [request] = received;
    const { sequence = 0 } = request ?? {};
    if (++sends === 1) {
      queue.push(new KernelError('receive', ENOBUFS));
      says(message(sequence, 1), acknowledge(sequence, 5));
      queue.push(new KernelError('receive', ENOBUFS));
      says(message(sequence + 1, 1), acknowledge(sequence + 1, 5));
    } else {
      assert.equal(queue.length, 0, 'nothing of the first exchange is left');
      says(message(sequence, 2), acknowledge(sequence));
    }
  });
  using socket = new NetlinkSocket(kernel);
  const first = socket.batch([one]);
  const second = socket.batch([one]);
  await assert.rejects(first, { name: 'KernelError', code: 'ENOBUFS', operation: 'look up a number' });
  assert.deepEqual(await second, [{ ok: true, value: 2 }]);
});

test('no answer within the time is an error that says so', async () => {
  const kernel = new FakeKernel(() => {});
  using socket = new NetlinkSocket(kernel);
  for (const exchange of [() => socket.batch([step('create x'), step('create y')]), () => socket.dump(list)]) {
    await assert.rejects(exchange(), { code: 'ETIMEDOUT', message: /within 10 s/ });
  }
});

test('what cannot be sent says which requests, and why', async () => {
  const kernel = new FakeKernel(() => {
    throw new KernelError('send to the kernel', EMSGSIZE);
  });
  using socket = new NetlinkSocket(kernel);
  await assert.rejects(socket.batch([step('create x'), step('create y')]), {
    code: 'EMSGSIZE',
    message: 'create x, create y: message too long (send to the kernel)',
  });
});

test('sequence numbers go around at 32 bits', async () => {
  const kernel = new FakeKernel((received, { says }) => {
    for (const { sequence } of received) says(message(sequence, sequence & 0xff), acknowledge(sequence));
  });
  using socket = new NetlinkSocket(kernel, 0xffff_fffe);
  assert.deepEqual(
    (await socket.batch([one, one, one])).map((outcome) => outcome.ok && outcome.value),
    [0xff, 0, 1],
  );
});

test('a socket disposed of in use finishes what was begun, takes no more, and is closed once', async () => {
  const kernel = new FakeKernel((received, { says, closed }) => {
    assert.equal(closed, 0);
    for (const { sequence } of received) says(message(sequence, 3), acknowledge(sequence));
  });
  const socket = new NetlinkSocket(kernel);
  const begun = [socket.batch([one]), socket.batch([one])];
  socket[Symbol.dispose]();
  socket[Symbol.dispose]();
  await assert.rejects(socket.batch([one]), /the netlink socket is closed/);
  await assert.rejects(socket.dump(list), /the netlink socket is closed/);
  const ended = await Promise.all(begun);
  assert.deepEqual(ended.flat(), [
    { ok: true, value: 3 },
    { ok: true, value: 3 },
  ]);
  await new Promise(setImmediate);
  assert.equal(kernel.closed, 1);
});

test('whatever the kernel says, a request ends with a value or a KernelError', async () => {
  const real = [message(1, 5), acknowledge(1), acknowledge(1, 17), done(1), Buffer.concat([message(1, 5), done(1)])];
  const mutated = fc
    .tuple(fc.constantFrom(...real), fc.array(fc.tuple(fc.nat(40), fc.nat(255))))
    .map(([datagram, edits]) => {
      const copy = Buffer.from(datagram);
      for (const [at, byte] of edits) if (at < copy.length) copy[at] = byte;
      return copy;
    });
  const datagram = fc.oneof(
    mutated,
    fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(datagram), fc.boolean(), async (datagrams, isDump) => {
      const kernel = new FakeKernel((_, { queue }) => queue.push(...datagrams));
      using socket = new NetlinkSocket(kernel);
      try {
        const outcomes = isDump ? [await socket.dump(list)] : await socket.batch([one, step('set')]);
        for (const outcome of outcomes) assert.ok(outcome.ok || outcome.error instanceof KernelError);
      } catch (error) {
        assert.ok(error instanceof KernelError, String(error));
      }
    }),
  );
});

test('the words of the kernel are read wherever they stand, and nowhere else', async () => {
  const tlv = text(1, 'invalid VLAN id');
  const request = Buffer.alloc(20);
  request.writeUInt32LE(20, 0);
  const hostile = Buffer.alloc(16);
  // As a signed number, one that would lead back to the attribute.
  hostile.writeUInt32LE(0xffff_ffe8, 0);
  const cases: readonly [title: string, type: number, flags: number, payload: Buffer[], expected: string][] = [
    ['capped', NLMSG_ERROR, 0x300, [word(-22), Buffer.alloc(16), tlv], 'x: invalid argument (invalid VLAN id)'],
    ['with the request', NLMSG_ERROR, 0x200, [word(-22), request, tlv], 'x: invalid argument (invalid VLAN id)'],
    ['no attributes', NLMSG_ERROR, 0x100, [word(-22), Buffer.alloc(16), tlv], 'x: invalid argument'],
    ['hostile length', NLMSG_ERROR, 0x200, [word(-22), hostile, tlv], 'x: invalid argument'],
    ['cut', NLMSG_ERROR, 0x300, [word(-22), Buffer.alloc(3)], 'x: invalid argument'],
  ];
  for (const [title, type, flags, payload, expected] of cases) {
    const kernel = new FakeKernel((_, { queue }) =>
      queue.push(encodeMessage({ type, flags, sequence: 1, payload: Buffer.concat(payload) })),
    );
    using socket = new NetlinkSocket(kernel);
    const [outcome] = await socket.batch([step('x')]);
    assert.equal(outcome?.ok === false && outcome.error.message, expected, title);
  }
});
