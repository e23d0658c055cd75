import { formatIP, parsePrefix } from '../../../net/ip.ts';
import { anyAddress, isHostAddress } from './datagram.ts';
import { bytesOf, type Lease, leaseOf } from './lease.ts';
import { type Message, MessageType, Option, type Options, typeOf } from './message.ts';

/*
 * The client of RFC 2131 as a function: from a state, and a message or the time, to the next state and what is to be sent.
 * It knows no socket and no clock.
 */

/** Who asks. */
export interface Client {
  /** Six bytes. */
  readonly hardwareAddress: Uint8Array;
  /** Those of every message: the client identifier, what is provided, and which ones are requested. */
  readonly options: Options;
  /** Answers can only reach it as broadcasts: its hardware address is shared, as ipvlan's is. */
  readonly broadcast: boolean;
  /** From 0 up to 1. */
  random(): number;
}

interface Waiting {
  readonly xid: number;
  /** When the first message was sent, and when to go on without an answer. */
  readonly since: number;
  readonly dueAt: number;
  /** Messages sent without an answer. */
  readonly tries: number;
}

export type State =
  /** Looking for servers. `held` is a lease that is still good, though its own server does not answer. */
  | ({ readonly at: 'selecting'; readonly held?: Lease | undefined; readonly refusals: readonly string[] } & Waiting)
  /** Asking a server for what it offered. */
  | ({
      readonly at: 'requesting';
      readonly held?: Lease | undefined;
      readonly refusals: readonly string[];
      readonly offer: Offer;
      /** When the lease's time begins, should it be granted. */
      readonly asked: number;
      /** Tries until the offer. */
      readonly discovered: number;
    } & Waiting)
  | { readonly at: 'bound'; readonly lease: Lease; readonly dueAt: number }
  /** Asking its server for more time, then any server. */
  | ({ readonly at: 'renewing'; readonly lease: Lease } & Waiting)
  | ({ readonly at: 'rebinding'; readonly lease: Lease } & Waiting)
  | { readonly at: 'expired' }
  /** No server gives what was asked for. */
  | { readonly at: 'refused'; readonly problem: string };

interface Offer {
  readonly address: Uint8Array;
  readonly server: Uint8Array;
  readonly serverMac: string;
}

/** A message, and whom it is for: everybody unless told. */
export interface Sending {
  readonly message: Message;
  readonly to?: Pick<Lease, 'server' | 'serverMac'>;
}

export interface Step {
  readonly state: State;
  readonly send?: Sending | undefined;
}

/**
 * Milliseconds until a message is sent again: the first time, and the longest. RFC 2131, section 4.1, has 4 s and 64 s; an
 * interface that has just come up loses the first message often.
 */
const firstWait = 1_000;
const longestWait = 64_000;
/** To renew, half of the time that is left, but at least this (section 4.4.5). */
const shortestRenewal = 60_000;
const mostRequests = 3;
const mostRefusals = 3;
/** Milliseconds that a rebinding client waits before it looks for other servers as well. */
const rebindWait = 5_000;

/** The lease that may be used in a state. */
export function usable(state: State): Lease | undefined {
  if (state.at === 'selecting' || state.at === 'requesting') return state.held;
  return 'lease' in state ? state.lease : undefined;
}

/** Begins to look for a server. */
export function discover(client: Client, now: number, held?: Lease): Step {
  return select(client, now, { held, refusals: [], tries: 0, since: now });
}

/** Goes on with a lease of before. */
export const resume = (lease: Lease): State => ({ at: 'bound', lease, dueAt: lease.renewAt });

/** Gives an address back. */
export function release(client: Client, lease: Pick<Lease, 'address' | 'server' | 'serverMac'>): Sending {
  const identifier = client.options.get(Option.clientIdentifier);
  const options = new Map<number, Uint8Array>([
    [Option.messageType, Uint8Array.of(MessageType.release)],
    [Option.serverIdentifier, bytesOf(lease.server)],
    ...(identifier === undefined ? [] : [[Option.clientIdentifier, identifier] as const]),
  ]);
  const { bytes } = parsePrefix(lease.address).ip;
  return { message: { ...blank(client), xid: newXid(client), clientAddress: bytes, options }, to: lease };
}

/** What a message makes of a state; undefined when it is not for it. */
export function receive(
  client: Client,
  state: State,
  message: Message,
  serverMac: string,
  now: number,
): Step | undefined {
  if (!('xid' in state) || !isAnswer(client, state.xid, message)) return undefined;
  const type = typeOf(message);
  if (state.at === 'selecting') {
    if (type !== MessageType.offer) return undefined;
    const offer = offerOf(message, serverMac);
    if (offer === undefined) return undefined;
    return request(client, { ...state, at: 'requesting', offer, asked: now, discovered: state.tries, tries: 0 }, now);
  }
  if (state.at === 'requesting') {
    const server = message.options.get(Option.serverIdentifier);
    if (server !== undefined && !Buffer.from(server).equals(state.offer.server)) return undefined;
    if (type === MessageType.nak) return refusedOffer(client, state, textOf(message), now);
    return type === MessageType.ack ? bind(message, serverMac, state.asked, state.held) : undefined;
  }
  if (type === MessageType.ack) return bind(message, serverMac, state.since, state.lease);
  // The address is somebody else's, or of another network by now: it may not be used a moment longer.
  return type === MessageType.nak ? select(client, now, { refusals: [], tries: 0, since: now }) : undefined;
}

/** What becomes of a state when its `dueAt` has come without an answer. */
export function elapse(client: Client, state: State, now: number): Step {
  const lease = usable(state);
  if (lease !== undefined && now >= lease.expiresAt) return { state: { at: 'expired' } };
  switch (state.at) {
    case 'selecting':
      return select(client, now, state);
    case 'requesting':
      if (state.tries < mostRequests) return request(client, state, now);
      return select(client, now, { ...state, tries: state.discovered });
    case 'bound':
    case 'renewing':
    case 'rebinding':
      return prolong(client, state, now);
    default:
      return { state };
  }
}

/** When to go on without an answer; undefined where nothing more is to come. */
export const dueAt = (state: State): number | undefined => ('dueAt' in state ? state.dueAt : undefined);

type Selecting = Pick<Waiting, 'tries' | 'since'> & {
  readonly held?: Lease | undefined;
  readonly refusals: readonly string[];
};

function select(client: Client, now: number, { held, refusals, tries, since }: Selecting): Step {
  const xid = newXid(client);
  const wait = backoff(client, tries);
  const dueAt = Math.min(now + wait, held?.expiresAt ?? Number.MAX_SAFE_INTEGER);
  const wanted = held && parsePrefix(held.address).ip.bytes;
  const message = messageOf(client, MessageType.discover, xid, secondsSince(since, now), {
    ...(wanted !== undefined && { [Option.requestedAddress]: wanted }),
  });
  return { state: { at: 'selecting', xid, since, dueAt, tries: tries + 1, held, refusals }, send: { message } };
}

function request(client: Client, state: State & { at: 'requesting' }, now: number): Step {
  const { offer, xid, since, tries, held } = state;
  const dueAt = Math.min(now + backoff(client, tries), held?.expiresAt ?? Number.MAX_SAFE_INTEGER);
  const message = messageOf(client, MessageType.request, xid, secondsSince(since, now), {
    [Option.requestedAddress]: offer.address,
    [Option.serverIdentifier]: offer.server,
  });
  return { state: { ...state, dueAt, tries: tries + 1 }, send: { message } };
}

/** A server that refuses what it offered may mean it once; after some times there is no use. */
function refusedOffer(client: Client, state: State & { at: 'requesting' }, text: string, now: number): Step {
  const refusals = [...state.refusals, text];
  if (refusals.length >= mostRefusals && state.held === undefined) {
    const server = formatIP({ family: 4, bytes: state.offer.server });
    return { state: { at: 'refused', problem: `DHCP server ${server} refuses what it offered: ${text}` } };
  }
  // As though the DISCOVER had not been answered.
  const { discovered, since, held, xid } = state;
  const wait = backoff(client, discovered);
  return { state: { at: 'selecting', xid, since, dueAt: now + wait, tries: discovered + 1, held, refusals } };
}

/** What makes no lease is no answer to who has one. */
function bind(ack: Message, serverMac: string, asked: number, previous: Lease | undefined): Step | undefined {
  const lease = leaseOf(ack, serverMac, asked, previous);
  if (typeof lease !== 'string') return { state: resume(lease) };
  return previous === undefined ? { state: { at: 'refused', problem: lease } } : undefined;
}

function prolong(client: Client, state: State & { readonly lease: Lease; readonly dueAt: number }, now: number): Step {
  const { lease } = state;
  if (state.at === 'rebinding' && state.tries > 0) {
    return select(client, now, { held: lease, refusals: [], tries: 0, since: state.since });
  }
  const at = now >= lease.rebindAt ? 'rebinding' : 'renewing';
  const before = state.at === at ? state : undefined;
  const { xid = newXid(client), since = now, tries = 0 } = before ?? {};
  const end = at === 'renewing' ? lease.rebindAt : lease.expiresAt;
  const wait = at === 'renewing' ? Math.max(shortestRenewal, (end - now) / 2) : rebindWait;
  const clientAddress = parsePrefix(lease.address).ip.bytes;
  const message = { ...messageOf(client, MessageType.request, xid, secondsSince(since, now), {}), clientAddress };
  return {
    state: { at, lease, xid, since, dueAt: Math.min(now + wait, end), tries: tries + 1 },
    send: { message, ...(at === 'renewing' && { to: lease }) },
  };
}

function isAnswer({ hardwareAddress, options }: Client, xid: number, message: Message): boolean {
  if (!message.isReply || message.xid !== xid || !Buffer.from(message.hardwareAddress).equals(hardwareAddress)) {
    return false;
  }
  // RFC 6842: servers repeat the identifier. Where hardware addresses are shared, it tells whom it is for.
  const echoed = message.options.get(Option.clientIdentifier);
  const own = options.get(Option.clientIdentifier);
  return echoed === undefined || own === undefined || Buffer.from(echoed).equals(own);
}

function offerOf({ yourAddress, options }: Message, serverMac: string): Offer | undefined {
  const server = options.get(Option.serverIdentifier);
  if (server?.length !== 4 || !isHostAddress({ family: 4, bytes: yourAddress })) return undefined;
  return { address: Uint8Array.from(yourAddress), server: Uint8Array.from(server), serverMac };
}

/** RFC 2132, section 9.9: for people. It ends up in an error's text, on one line. */
function textOf({ options }: Message): string {
  const text = Buffer.from(options.get(Option.message) ?? []).toString('latin1');
  return text.replace(/[^ -~]/g, '?') || 'it does not say why';
}

function messageOf(
  client: Client,
  type: number,
  xid: number,
  seconds: number,
  own: Readonly<Record<number, Uint8Array>>,
): Message {
  const more = Object.entries(own).map(([code, value]) => [Number(code), value] as const);
  const options = new Map([...client.options, [Option.messageType, Uint8Array.of(type)] as const, ...more]);
  return { ...blank(client), broadcast: client.broadcast, xid, seconds, options };
}

function blank({ hardwareAddress }: Client): Omit<Message, 'xid' | 'options'> {
  const none = anyAddress.bytes;
  return { isReply: false, seconds: 0, broadcast: false, clientAddress: none, yourAddress: none, hardwareAddress };
}

/** Twice as long each time, and not the same for all who lost their server at one time. */
function backoff({ random }: Client, tries: number): number {
  return Math.min(firstWait * 2 ** tries, longestWait) * (0.9 + 0.2 * random());
}

const newXid = ({ random }: Client): number => Math.floor(random() * 0x1_0000_0000);
const secondsSince = (since: number, now: number): number => Math.floor((now - since) / 1000);
