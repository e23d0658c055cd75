import { parsePrefix } from '../../../net/ip.ts';
import { associationId, type Lease, leaseOf } from './lease.ts';
import { encodeAssociation, type Message, MessageType, Option, optionOf, StatusCode } from './message.ts';

/*
 * The client of RFC 8415 for one address as a function: from a state, and a message or the time, to the next state and what
 * is to be sent. It knows no socket and no clock.
 */

/** Who asks. */
export interface Client {
  /** What servers know it by (section 11). */
  readonly duid: Uint8Array;
  /** From 0 up to 1. */
  random(): number;
}

interface Waiting {
  readonly transaction: number;
  /** When the first message was sent, and when to go on without an answer. */
  readonly since: number;
  readonly dueAt: number;
  /** The last time to wait, in milliseconds, which the next one is made of. */
  readonly wait: number;
  /** Messages sent without an answer. */
  readonly tries: number;
}

interface Seeking {
  /** A lease that is still good, though its server does not prolong it. */
  readonly held?: Lease | undefined;
  /** What the last server that refused said. */
  readonly problem?: string | undefined;
}

export type State =
  /** Looking for servers. `longest`: milliseconds to wait, which a server may tell. */
  | ({ readonly at: 'soliciting'; readonly longest: number } & Seeking & Waiting)
  /** Asking a server for what it offered. */
  | ({ readonly at: 'requesting'; readonly offer: Offer } & Seeking & Waiting)
  | { readonly at: 'bound'; readonly lease: Lease; readonly dueAt: number }
  /** Asking its server for more time, then any server. */
  | ({ readonly at: 'renewing' | 'rebinding'; readonly lease: Lease } & Waiting)
  | { readonly at: 'expired' };

/** Which address, and the server's DUID in hexadecimal digits. */
export type Offer = Pick<Lease, 'address' | 'server'>;

export interface Step {
  readonly state: State;
  readonly send?: Message | undefined;
}

/** Milliseconds until a message is sent again: the first time, and the longest (section 7.6). */
const solicitation = { first: 1_000, longest: 3_600_000 };
const requesting = { first: 1_000, longest: 30_000 };
const prolonging = { first: 10_000, longest: 600_000 };
const mostRequests = 10;
/** Seconds that a server may have clients wait for between solicitations (section 21.24). */
const leastSolicitation = 60;
const mostSolicitation = 86_400;

/** Section 11.1 has DUIDs of up to 128 bytes after their type. */
const longestDuid = 130;

/** The lease that may be used in a state. */
export function usable(state: State): Lease | undefined {
  if (state.at === 'soliciting' || state.at === 'requesting') return state.held;
  return 'lease' in state ? state.lease : undefined;
}

/** Begins to look for a server. */
export function solicit(client: Client, now: number, { held, problem }: Seeking = {}): Step {
  const { longest } = solicitation;
  return sendSolicit(client, now, { at: 'soliciting', held, problem, longest, ...fresh(client, now) });
}

/** Goes on with a lease of before. */
export const resume = (lease: Lease): State => ({ at: 'bound', lease, dueAt: lease.renewAt });

/** Gives an address back. */
export function release(client: Client, { address, server }: Offer): Message {
  return messageOf(client, MessageType.release, newTransaction(client), 0, { server, address });
}

/** When to go on without an answer; undefined where nothing more is to come. */
export const dueAt = (state: State): number | undefined => ('dueAt' in state ? state.dueAt : undefined);

/** What a message makes of a state; undefined when it is not for it. */
export function receive(client: Client, state: State, message: Message, now: number): Step | undefined {
  if (!('transaction' in state) || message.transaction !== state.transaction) return undefined;
  const server = optionOf(message.options, Option.serverIdentifier);
  const own = optionOf(message.options, Option.clientIdentifier);
  if (server === undefined || server.length === 0 || server.length > longestDuid) return undefined;
  if (own === undefined || !Buffer.from(own).equals(client.duid)) return undefined;
  if (state.at === 'soliciting') {
    return message.type === MessageType.advertise ? advertised(client, state, message, server, now) : undefined;
  }
  if (message.type !== MessageType.reply) return undefined;
  return state.at === 'requesting'
    ? answered(client, state, message, server)
    : prolonged(client, state, message, server, now);
}

/** What becomes of a state when its `dueAt` has come without an answer. */
export function elapse(client: Client, state: State, now: number): Step {
  const lease = usable(state);
  if (lease !== undefined && now >= lease.expiresAt) return { state: { at: 'expired' } };
  switch (state.at) {
    case 'soliciting':
      return sendSolicit(client, now, state);
    case 'requesting':
      return state.tries < mostRequests ? sendRequest(client, now, state) : solicit(client, now, state);
    case 'bound':
    case 'renewing':
    case 'rebinding':
      return sendProlong(client, now, state);
    default:
      return { state };
  }
}

type At<Name extends State['at']> = State & { at: Name };

/** The first server that has an address is asked for it; what others say is kept for people. */
function advertised(client: Client, state: At<'soliciting'>, message: Message, server: Uint8Array, now: number): Step {
  const outcome = leaseOf(message, server, now, state.held);
  if ('refusal' in outcome) {
    return { state: { ...state, longest: longestOf(message) ?? state.longest, problem: outcome.refusal.text } };
  }
  const { held, problem } = state;
  return sendRequest(client, now, { at: 'requesting', held, problem, offer: outcome.lease, ...fresh(client, now) });
}

function answered(client: Client, state: At<'requesting'>, message: Message, server: Uint8Array): Step | undefined {
  if (Buffer.from(server).toString('hex') !== state.offer.server) return undefined;
  const { held, offer, since, dueAt, wait, tries } = state;
  const outcome = leaseOf(message, server, since, held);
  if ('lease' in outcome) return { state: resume(outcome.lease) };
  const problem = `after it offered ${offer.address}: ${outcome.refusal.text}`;
  // Another server may have one. Not at once: that could go on for ever.
  const waiting = { transaction: newTransaction(client), since, dueAt, wait, tries };
  return { state: { at: 'soliciting', held, problem, longest: solicitation.longest, ...waiting } };
}

function prolonged(
  client: Client,
  state: At<'renewing' | 'rebinding'>,
  message: Message,
  server: Uint8Array,
  now: number,
): Step | undefined {
  const { lease } = state;
  const outcome = leaseOf(message, server, state.since, lease);
  if ('lease' in outcome) return { state: resume(outcome.lease) };
  const { code, isWithdrawn, text } = outcome.refusal;
  if (isWithdrawn) return solicit(client, now);
  // Section 18.2.10.1: it has forgotten the lease, and may note it again.
  if (code !== StatusCode.noBinding) return undefined;
  const offer = { address: lease.address, server: Buffer.from(server).toString('hex') };
  return sendRequest(client, now, { at: 'requesting', held: lease, problem: text, offer, ...fresh(client, now) });
}

function sendSolicit(client: Client, now: number, state: At<'soliciting'>): Step {
  const { transaction, since, tries, wait: before, held, longest } = state;
  // Section 18.2.1: never sooner than the first time, so that all servers may answer.
  const wait =
    before === 0
      ? solicitation.first * (1 + client.random() / 10)
      : nextWait(client, before, { ...solicitation, longest });
  const dueAt = Math.min(now + wait, held?.expiresAt ?? Number.MAX_SAFE_INTEGER);
  const message = messageOf(client, MessageType.solicit, transaction, now - since, { address: held?.address });
  return { state: { ...state, wait, dueAt, tries: tries + 1 }, send: message };
}

function sendRequest(client: Client, now: number, state: At<'requesting'>): Step {
  const { transaction, since, tries, wait: before, held, offer } = state;
  const wait = nextWait(client, before, requesting);
  const dueAt = Math.min(now + wait, held?.expiresAt ?? Number.MAX_SAFE_INTEGER);
  const message = messageOf(client, MessageType.request, transaction, now - since, offer);
  return { state: { ...state, wait, dueAt, tries: tries + 1 }, send: message };
}

function sendProlong(client: Client, now: number, state: At<'bound' | 'renewing' | 'rebinding'>): Step {
  const { lease } = state;
  const at = now >= lease.rebindAt ? 'rebinding' : 'renewing';
  const before = state.at !== 'bound' && state.at === at ? state : fresh(client, now);
  const wait = nextWait(client, before.wait, prolonging);
  const dueAt = Math.min(now + wait, at === 'renewing' ? lease.rebindAt : lease.expiresAt);
  const { transaction, since, tries } = before;
  const isRenewal = at === 'renewing';
  const message = messageOf(
    client,
    isRenewal ? MessageType.renew : MessageType.rebind,
    transaction,
    now - since,
    isRenewal ? lease : { address: lease.address },
  );
  return { state: { at, lease, transaction, since, wait, dueAt, tries: tries + 1 }, send: message };
}

function messageOf(
  { duid }: Client,
  type: number,
  transaction: number,
  elapsed: number,
  { address, server }: { readonly address?: string | undefined; readonly server?: string },
): Message {
  const bytes = address === undefined ? undefined : parsePrefix(address).ip.bytes;
  const association = encodeAssociation({
    id: associationId,
    renewAfter: 0,
    rebindAfter: 0,
    addresses: bytes === undefined ? [] : [{ bytes, preferred: 0, valid: 0 }],
  });
  const elapsedTime = Buffer.alloc(2);
  // Hundredths of a second; longer is the longest (section 21.9).
  elapsedTime.writeUInt16BE(Math.min(Math.max(Math.floor(elapsed / 10), 0), 0xffff));
  const requested = Buffer.alloc(6);
  const codes = [Option.nameServers, Option.domainList, Option.longestSolicitation];
  for (const [place, code] of codes.entries()) requested.writeUInt16BE(code, 2 * place);
  return {
    type,
    transaction,
    options: [
      [Option.clientIdentifier, duid],
      ...(server === undefined ? [] : [[Option.serverIdentifier, Buffer.from(server, 'hex')] as const]),
      [Option.association, association],
      [Option.elapsedTime, elapsedTime],
      ...(type === MessageType.release ? [] : [[Option.optionRequest, requested] as const]),
    ],
  };
}

/** Section 15: about twice as long each time, and not the same for all who lost their server at one time. */
function nextWait({ random }: Client, before: number, { first, longest }: typeof requesting): number {
  const part = 0.2 * random() - 0.1;
  const wait = before === 0 ? first * (1 + part) : before * (2 + part);
  return wait > longest ? longest * (1 + part) : wait;
}

function longestOf({ options }: Message): number | undefined {
  const value = optionOf(options, Option.longestSolicitation);
  if (value?.length !== 4) return undefined;
  const seconds = Buffer.from(value).readUInt32BE();
  return seconds >= leastSolicitation && seconds <= mostSolicitation ? seconds * 1000 : undefined;
}

const fresh = (client: Client, now: number): Waiting => ({
  transaction: newTransaction(client),
  since: now,
  dueAt: now,
  wait: 0,
  tries: 0,
});

const newTransaction = ({ random }: Client): number => Math.floor(random() * 0x100_0000);
