import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatIP, parseIP } from '../../src/net/ip.ts';
import {
  type Client,
  discover,
  dueAt,
  elapse,
  receive,
  resume,
  type State,
  type Step,
  usable,
} from '../../src/plugins/dhcp/v4/client.ts';
import type { Lease } from '../../src/plugins/dhcp/v4/lease.ts';
import { type Message, MessageType, Option, typeOf } from '../../src/plugins/dhcp/v4/message.ts';

const client: Client = {
  hardwareAddress: Uint8Array.of(2, 0, 0, 0, 0, 1),
  options: new Map([[Option.clientIdentifier, Uint8Array.of(0, 99)]]),
  broadcast: false,
  random: () => 0.5,
};

const lease: Lease = {
  address: '10.0.0.9/24',
  gateway: '10.0.0.1',
  routes: [],
  dns: {},
  server: '10.0.0.1',
  serverMac: '02:00:00:00:00:02',
  renewAt: 500_000,
  rebindAt: 850_000,
  expiresAt: 1_000_000,
};

function answer(state: State, type: number, more: Partial<Message> = {}, server = '10.0.0.1'): Message {
  assert.ok('xid' in state);
  return {
    isReply: true,
    xid: state.xid,
    seconds: 0,
    broadcast: false,
    clientAddress: new Uint8Array(4),
    yourAddress: parseIP('10.0.0.9').bytes,
    hardwareAddress: client.hardwareAddress,
    ...more,
    options: new Map([
      [Option.messageType, Uint8Array.of(type)],
      [Option.serverIdentifier, parseIP(server).bytes],
      [Option.subnetMask, Uint8Array.of(255, 255, 255, 0)],
      ...(more.options ?? []),
    ]),
  };
}

const mac = '02:00:00:00:00:02';

function must(step: Step | undefined): Step {
  assert.ok(step);
  return step;
}

/** What was sent, in a word, and to whom. */
function sent({ send }: Step): string {
  if (send === undefined) return 'nothing';
  const { options, clientAddress } = send.message;
  const requested = options.get(Option.requestedAddress);
  const words = [
    Object.entries(MessageType).find(([, type]) => type === typeOf(send.message))?.[0],
    `to ${send.to?.server ?? 'all'}`,
    requested && `wants ${formatIP({ family: 4, bytes: requested })}`,
    clientAddress.some(Boolean) && `has ${formatIP({ family: 4, bytes: clientAddress })}`,
  ];
  return words.filter(Boolean).join(', ');
}

/** Lets time pass until something is due. */
const wait = (state: State): Step => elapse(client, state, dueAt(state) ?? 0);

describe('the client of DHCP', () => {
  test('discovers, requests what is offered, and has it from the moment that it asked', () => {
    const looking = discover(client, 1_000);
    assert.equal(sent(looking), 'discover, to all');
    const asking = must(receive(client, looking.state, answer(looking.state, MessageType.offer), mac, 2_000));
    assert.equal(sent(asking), 'request, to all, wants 10.0.0.9');
    const { state } = must(receive(client, asking.state, answer(asking.state, MessageType.ack), mac, 9_000));
    assert.equal(state.at, 'bound');
    assert.equal(usable(state)?.expiresAt, 2_000 + 3_600_000);
  });

  test('waits twice as long each time that nobody answers, up to 64 s', () => {
    let step = discover(client, 0);
    const waits: number[] = [];
    for (let now = 0; waits.length < 8; step = wait(step.state)) {
      const due = dueAt(step.state) ?? 0;
      waits.push(Math.round((due - now) / 1000));
      now = due;
      assert.equal(sent(step), 'discover, to all');
    }
    assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 64, 64]);
  });

  const strangers: readonly [what: string, more: Partial<Message>][] = [
    ['of another transaction', { xid: 1 }],
    ['for another hardware address', { hardwareAddress: Uint8Array.of(2, 0, 0, 0, 0, 9) }],
    [
      'for another client behind the same hardware address',
      { options: new Map([[Option.clientIdentifier, Uint8Array.of(0, 98)]]) },
    ],
    ['of a client', { isReply: false }],
    ['of an address that no host can have', { yourAddress: Uint8Array.of(224, 0, 0, 1) }],
    ['without a server', { options: new Map([[Option.serverIdentifier, new Uint8Array()]]) }],
  ];
  for (const [what, more] of strangers) {
    test(`passes over an offer ${what}`, () => {
      const { state } = discover(client, 0);
      assert.equal(receive(client, state, answer(state, MessageType.offer, more), mac, 1), undefined);
    });
  }

  test('asks three times for what was offered, then looks for a server again; another server may not answer for it', () => {
    const looking = discover(client, 0);
    let step = must(receive(client, looking.state, answer(looking.state, MessageType.offer), mac, 1));
    const stranger = answer(step.state, MessageType.nak, {}, '10.0.0.66');
    assert.equal(receive(client, step.state, stranger, mac, 2), undefined);
    for (const _ of [1, 2]) {
      step = wait(step.state);
      assert.equal(sent(step), 'request, to all, wants 10.0.0.9');
    }
    assert.equal(sent(wait(step.state)), 'discover, to all');
  });

  test('gives up a server that refuses three times what it offered, and says what it said', () => {
    let { state } = discover(client, 0);
    for (let refusals = 1; refusals <= 3; refusals++) {
      const asking = must(receive(client, state, answer(state, MessageType.offer), mac, 1));
      const no = answer(asking.state, MessageType.nak, {
        options: new Map([[Option.message, Buffer.from('no\nway')]]),
      });
      const step = must(receive(client, asking.state, no, mac, 2));
      state = step.state;
      if (refusals === 3) break;
      assert.equal(sent(step), 'nothing', 'not at once: that could go on for ever');
      state = wait(state).state;
    }
    assert.deepEqual(state, { at: 'refused', problem: 'DHCP server 10.0.0.1 refuses what it offered: no?way' });
  });

  test('renews with its server, rebinds with any, looks for others while the lease is good, and ends with it', () => {
    const seen: string[] = [];
    let step: Step = { state: resume(lease) };
    for (let now = 0; step.state.at !== 'expired'; ) {
      now = dueAt(step.state) ?? 0;
      step = wait(step.state);
      seen.push(`${now / 1000} s: ${sent(step)}`);
      assert.equal(usable(step.state) !== undefined, step.state.at !== 'expired');
    }
    assert.deepEqual(seen, [
      '500 s: request, to 10.0.0.1, has 10.0.0.9',
      '675 s: request, to 10.0.0.1, has 10.0.0.9',
      '762.5 s: request, to 10.0.0.1, has 10.0.0.9',
      '822.5 s: request, to 10.0.0.1, has 10.0.0.9',
      '850 s: request, to all, has 10.0.0.9',
      '855 s: discover, to all, wants 10.0.0.9',
      '856 s: discover, to all, wants 10.0.0.9',
      '858 s: discover, to all, wants 10.0.0.9',
      '862 s: discover, to all, wants 10.0.0.9',
      '870 s: discover, to all, wants 10.0.0.9',
      '886 s: discover, to all, wants 10.0.0.9',
      '918 s: discover, to all, wants 10.0.0.9',
      '982 s: discover, to all, wants 10.0.0.9',
      '1000 s: nothing',
    ]);
  });

  for (const late of [500_000, 850_000]) {
    test(`has more time when the server grants it at ${late / 1000} s, and nothing the moment that it refuses`, () => {
      const { state } = elapse(client, resume(lease), late);
      const more = must(receive(client, state, answer(state, MessageType.ack), mac, late + 1_000));
      assert.equal(usable(more.state)?.expiresAt, late + 3_600_000);
      const none = must(receive(client, state, answer(state, MessageType.nak), mac, late + 1_000));
      assert.equal(usable(none.state), undefined);
      assert.equal(sent(none), 'discover, to all');
    });
  }

  test('goes on after a restart where it would be: a lease that has run out is over', () => {
    assert.equal(elapse(client, resume(lease), 900_000).state.at, 'rebinding');
    assert.equal(elapse(client, resume(lease), 1_000_000).state.at, 'expired');
  });
});
