import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseIP } from '../../src/net/ip.ts';
import {
  type Client,
  dueAt,
  elapse,
  receive,
  resume,
  type State,
  type Step,
  solicit,
  usable,
} from '../../src/plugins/dhcp/v6/client.ts';
import { associationId, type Lease, leaseOf } from '../../src/plugins/dhcp/v6/lease.ts';
import {
  type AssociationAddress,
  associationIn,
  decodeMessage,
  encodeAssociation,
  encodeMessage,
  type Message,
  MessageType,
  Option,
  type Options,
  optionOf,
  type Status,
  StatusCode,
} from '../../src/plugins/dhcp/v6/message.ts';

const duid = Uint8Array.of(0, 4, ...new Uint8Array(16).fill(7));
const server = Uint8Array.of(0, 3, 0, 1, 2, 0, 0, 0, 0, 1);
const client: Client = { duid, random: () => 0.5 };

const lease: Lease = {
  address: 'fd00::9/128',
  dns: {},
  server: Buffer.from(server).toString('hex'),
  renewAt: 500_000,
  rebindAt: 800_000,
  expiresAt: 1_000_000,
};

interface Granted {
  readonly addresses?: readonly (readonly [ip: string, preferred: number, valid: number])[];
  readonly times?: readonly [renewAfter: number, rebindAfter: number];
  readonly status?: Status;
  readonly more?: Options;
}

function granting({ addresses = [['fd00::9', 1000, 1000]], times = [0, 0], status, more = [] }: Granted): Options {
  const [renewAfter, rebindAfter] = times;
  const each = addresses.map(
    ([ip, preferred, valid]): AssociationAddress => ({ bytes: parseIP(ip).bytes, preferred, valid }),
  );
  const association = { id: associationId, renewAfter, rebindAfter, addresses: each, status };
  return [[Option.association, encodeAssociation(association)], ...more];
}

function answer(state: State, type: number, granted: Granted = {}, own = duid, other = server): Message {
  assert.ok('transaction' in state);
  const identifiers: Options = [
    [Option.clientIdentifier, own],
    [Option.serverIdentifier, other],
  ];
  return { type, transaction: state.transaction, options: [...identifiers, ...granting(granted)] };
}

function must(step: Step | undefined): Step {
  assert.ok(step);
  return step;
}

function sent({ send }: Step): string {
  if (send === undefined) return 'nothing';
  const name = Object.entries(MessageType).find(([, type]) => type === send.type)?.[0];
  return `${name} to ${optionOf(send.options, Option.serverIdentifier) === undefined ? 'all' : 'one'}`;
}

const wait = (state: State): Step => elapse(client, state, dueAt(state) ?? 0);
const refusal = (code: number, text = ''): Granted => ({ addresses: [], status: { code, text } });

describe('the client of DHCPv6', () => {
  test('solicits, requests what is advertised, and has it from the moment that it asked', () => {
    const looking = solicit(client, 1_000);
    assert.equal(sent(looking), 'solicit to all');
    const asking = must(receive(client, looking.state, answer(looking.state, MessageType.advertise), 2_000));
    assert.equal(sent(asking), 'request to one');
    const { state } = must(receive(client, asking.state, answer(asking.state, MessageType.reply), 9_000));
    assert.partialDeepStrictEqual(usable(state), {
      address: 'fd00::9/128',
      renewAt: 502_000,
      rebindAt: 802_000,
      expiresAt: 1_002_000,
    });
  });

  test('waits twice as long each time that nobody answers, up to an hour or what a server tells', () => {
    const waits = (first: Step): number[] => {
      const seen: number[] = [];
      for (let step = first, now = 0; seen.length < 14; step = wait(step.state)) {
        const due = dueAt(step.state) ?? 0;
        seen.push(Math.round((due - now) / 1000));
        now = due;
      }
      return seen;
    };
    const first = solicit(client, 0);
    assert.deepEqual(waits(first), [1, 2, 4, 8, 17, 34, 67, 134, 269, 538, 1075, 2150, 3600, 3600]);
    const told = Buffer.alloc(4);
    told.writeUInt32BE(60);
    const no = { ...refusal(StatusCode.noAddresses), more: [[Option.longestSolicitation, told] as const] };
    const { state } = must(receive(client, first.state, answer(first.state, MessageType.advertise, no), 1));
    assert.deepEqual(waits({ state }).slice(4, 9), [17, 34, 60, 60, 60]);
  });

  const other = Uint8Array.of(0, 4, ...new Uint8Array(16).fill(8));
  const strangers: readonly [what: string, change: (message: Message) => Message][] = [
    ['of another transaction', (message) => ({ ...message, transaction: message.transaction ^ 1 })],
    ['of a client', (message) => ({ ...message, type: MessageType.solicit })],
    ['for another client', ({ options, ...rest }) => ({ ...rest, options: [[1, other], ...options.slice(1)] })],
    ['of nobody', ({ options, ...rest }) => ({ ...rest, options: [...options.slice(0, 1), ...options.slice(2)] })],
  ];
  for (const [what, change] of strangers) {
    test(`passes over an advertisement ${what}`, () => {
      const { state } = solicit(client, 0);
      assert.equal(receive(client, state, change(answer(state, MessageType.advertise)), 1), undefined);
    });
  }

  test('asks ten times for what was advertised, then solicits again; another server may not answer for it', () => {
    const looking = solicit(client, 0);
    let step = must(receive(client, looking.state, answer(looking.state, MessageType.advertise), 1));
    assert.equal(receive(client, step.state, answer(step.state, MessageType.reply, {}, duid, other), 2), undefined);
    for (let tries = 2; tries <= 10; tries++) {
      step = wait(step.state);
      assert.equal(sent(step), 'request to one');
    }
    assert.equal(sent(wait(step.state)), 'solicit to all');
  });

  const words: readonly [granted: Granted, problem: RegExp][] = [
    [refusal(StatusCode.noAddresses, 'all\ngone'), /^it has no address left \(all\?gone\)$/],
    [refusal(StatusCode.notOnLink), /^the address is of another link$/],
    [refusal(StatusCode.unspecified), /^it refuses$/],
    [refusal(99), /^it refuses with status 99$/],
    [{ addresses: [['fe80::1', 9, 9]] }, /no address that a host can have/],
    [{ addresses: [['ff02::1', 9, 9]] }, /no address that a host can have/],
    [{ addresses: [['::1', 9, 9]] }, /no address that a host can have/],
    [{ addresses: [['fd00::9', 10, 9]] }, /no address that a host can have/],
    [{ times: [9, 8] }, /asked again too late/],
  ];
  for (const [granted, problem] of words) {
    test(`goes on soliciting when a server answers so that ${problem}`, () => {
      const { state } = solicit(client, 0);
      const step = must(receive(client, state, answer(state, MessageType.advertise, granted), 1));
      assert.equal(sent(step), 'nothing');
      assert.ok(step.state.at === 'soliciting');
      assert.match(`${step.state.problem}`, problem);
    });
  }

  test('renews with its server, rebinds with any, and ends with the lease', () => {
    const seen: string[] = [];
    for (let step: Step = { state: resume(lease) }; step.state.at !== 'expired'; ) {
      const now = dueAt(step.state) ?? 0;
      step = wait(step.state);
      seen.push(`${Math.round(now / 1000)} s: ${sent(step)}`);
      assert.equal(usable(step.state) !== undefined, step.state.at !== 'expired');
    }
    assert.deepEqual(seen, [
      ...[500, 510, 530, 570, 650].map((at) => `${at} s: renew to one`),
      ...[800, 810, 830, 870, 950].map((at) => `${at} s: rebind to all`),
      '1000 s: nothing',
    ]);
  });

  for (const late of [500_000, 800_000]) {
    test(`at ${late / 1000} s: more time, a lease that was forgotten asked for again, one that is taken back not kept`, () => {
      const { state } = elapse(client, resume(lease), late);
      const more = must(receive(client, state, answer(state, MessageType.reply), late + 1_000));
      assert.equal(usable(more.state)?.expiresAt, late + 1_000_000);
      const forgot = answer(state, MessageType.reply, refusal(StatusCode.noBinding));
      const again = must(receive(client, state, forgot, late + 1_000));
      assert.equal(sent(again), 'request to one');
      assert.equal(usable(again.state), lease);
      for (const more of [{}, { status: { code: StatusCode.noAddresses, text: '' } }]) {
        const taken = answer(state, MessageType.reply, { addresses: [['fd00::9', 0, 0]], ...more });
        const none = must(receive(client, state, taken, late + 1_000));
        assert.equal(usable(none.state), undefined);
        assert.equal(sent(none), 'solicit to all');
      }
      const busy = answer(state, MessageType.reply, refusal(StatusCode.unspecified));
      assert.equal(receive(client, state, busy, late + 1_000), undefined, 'it is asked again, and any server then');
    });
  }
});

describe('messages of DHCPv6', () => {
  const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
  const seconds = fc.nat({ max: 0xffffffff });
  const association = fc.record({
    id: fc.constant(associationId),
    renewAfter: seconds,
    rebindAfter: seconds,
    addresses: fc.array(
      fc.record({ bytes: bytes(16), preferred: seconds, valid: seconds }, { noNullPrototype: true }),
      { maxLength: 4 },
    ),
    status: fc.option(fc.record({ code: fc.nat({ max: 9 }), text: fc.constant('why') }, { noNullPrototype: true }), {
      nil: undefined,
    }),
  });
  const code = fc.nat({ max: 0xffff }).filter((each) => each !== Option.association);
  const other = fc.array(fc.tuple(code, fc.uint8Array({ maxLength: 300 })), { maxLength: 6 });

  test('what is written is read', () => {
    fc.assert(
      fc.property(association, other, fc.nat({ max: 0xffffff }), (wanted, more, transaction) => {
        const options: Options = [...more, [Option.association, encodeAssociation(wanted)]];
        const read = decodeMessage(encodeMessage({ type: MessageType.reply, transaction, options }));
        assert.ok(read);
        assert.equal(read.transaction, transaction);
        assert.deepEqual(
          read.options.map(([each, value]) => [each, Buffer.from(value).toString('hex')]),
          options.map(([each, value]) => [each, Buffer.from(value).toString('hex')]),
        );
        assert.deepEqual(associationIn(read.options, associationId), { ...wanted });
      }),
    );
  });

  test('whatever arrives, nothing is read beyond it, and no lease has an address or times that make no sense', () => {
    const changes = fc.array(fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 255 })), { maxLength: 10 });
    fc.assert(
      fc.property(association, other, changes, fc.nat(2000), (wanted, more, damage, length) => {
        const options: Options = [[Option.association, encodeAssociation(wanted)], ...more];
        const packet = encodeMessage({ type: MessageType.reply, transaction: 1, options });
        for (const [place, value] of damage) if (place < packet.length) packet[place] = value;
        const read = decodeMessage(packet.subarray(0, length));
        const outcome = read && leaseOf(read, server, 0);
        if (outcome === undefined || 'refusal' in outcome) return;
        const { address, renewAt, rebindAt, expiresAt } = outcome.lease;
        assert.match(address, /^(?!fe[89ab]|ff|::)[0-9a-f:]+\/128$/);
        assert.ok(renewAt <= rebindAt && rebindAt <= expiresAt, JSON.stringify(outcome.lease));
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (value) => {
        decodeMessage(Buffer.from(value));
      }),
    );
  });

  test('name servers and domains are read, and what is none is passed over', () => {
    const servers = Buffer.concat(['fd00::53', 'fe80::53', 'ff02::1'].map((each) => parseIP(each).bytes));
    const domains = Buffer.from('\x04pods\x07example\0\x03a\nb\0', 'latin1');
    const more: Options = [
      [Option.nameServers, Buffer.concat([servers, Buffer.alloc(7)])],
      [Option.domainList, domains],
    ];
    const outcome = leaseOf({ type: MessageType.reply, transaction: 1, options: granting({ more }) }, server, 0);
    assert.ok('lease' in outcome);
    assert.deepEqual(outcome.lease.dns, { nameservers: ['fd00::53'], search: ['pods.example'] });
  });

  test('a lease without end has none, nor any time to ask for more', () => {
    const endless = granting({ addresses: [['fd00::9', 0xffffffff, 0xffffffff]] });
    const outcome = leaseOf({ type: MessageType.reply, transaction: 1, options: endless }, server, 5);
    assert.ok('lease' in outcome);
    const { renewAt, rebindAt, expiresAt } = outcome.lease;
    assert.deepEqual(new Set([renewAt, rebindAt, expiresAt]), new Set([Number.MAX_SAFE_INTEGER]));
  });
});
