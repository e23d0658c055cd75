import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../../cni/error.ts';
import type { IP } from '../../../net/ip.ts';
import type { Clock } from '../converse.ts';
import type { Seat } from '../seat.ts';
import { type Client, type Offer, type State, solicit } from './client.ts';
import { exchange, type Port } from './exchange.ts';
import type { Lease } from './lease.ts';
import type { LeaseRecord } from './records.ts';

export interface Question {
  /** Who asks, for messages. */
  readonly record: LeaseRecord;
  readonly client: Client;
  readonly port: Port;
  readonly clock: Clock;
  /** Milliseconds until it is given up. */
  readonly patience: number;
}

/**
 * Has a lease of any server that answers.
 *
 * @param asking Told of what is asked for, before it is: a server may note it, whatever becomes of the answer.
 * @throws {CniError} 11 when none granted one in time.
 */
export async function ask(
  { record, client, port, clock, patience }: Question,
  asking: (offered: Offer) => Promise<void>,
): Promise<Lease> {
  let offered: Offer | undefined;
  const entered = async (state: State): Promise<void> => {
    if (state.at !== 'requesting' || state.tries > 1) return;
    const { address, server } = state.offer;
    offered = { address, server };
    await asking(offered);
  };
  const now = clock();
  const { signal } = new AbortController();
  const terms = { client, port, clock, signal, giveUpAt: now + patience, entered };
  const state = await exchange(terms, solicit(client, now));
  if (state.at === 'bound') return state.lease;
  const problem = 'problem' in state ? state.problem : undefined;
  const within = `within ${patience / 1000} s${problem === undefined ? '' : `, one said: ${problem}`}`;
  throw new CniError(
    ErrorCode.TryAgainLater,
    offered === undefined
      ? `network "${record.network}": no DHCPv6 server offered an address to interface "${record.ifName}" ${within}`
      : `network "${record.network}": no DHCPv6 server granted the address ${offered.address} that was offered ${within}`,
    'the server may be down or out of addresses, or may not be on the network that the interface leads to',
  );
}

/** Milliseconds between two looks, and until the detection of duplicates must be over. */
const look = 20;
const longestDetection = 10_000;

/**
 * The address that messages are sent from, when it may be used.
 *
 * @throws {CniError} 999 when the interface has none.
 */
export async function linkLocalOf(seat: Seat): Promise<IP> {
  for (const deadline = performance.now() + longestDetection; ; await sleep(look)) {
    const own = await seat.linkLocal();
    if (own !== undefined) return own;
    if (performance.now() < deadline) continue;
    throw new CniError(
      ErrorCode.Internal,
      `interface "${seat.link.name}" has no link-local address that it may use after ${longestDetection / 1000} s`,
      'DHCPv6 is asked from that address; it may be in use on the network already, or addr_gen_mode may be "none"',
    );
  }
}
