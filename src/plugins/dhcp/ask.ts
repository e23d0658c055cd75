import { CniError, ErrorCode } from '../../cni/error.ts';
import { formatIP } from '../../net/ip.ts';
import { type Client, discover, type State } from './client.ts';
import type { Clock } from './converse.ts';
import { exchange, type Port } from './exchange.ts';
import type { Lease } from './lease.ts';
import type { LeaseRecord } from './records.ts';

/** What a server was asked for. */
export type Offered = NonNullable<LeaseRecord['offered']>;

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
 * @throws {CniError} 11 when none granted one in time, 999 when it was refused.
 */
export async function ask(
  { record, client, port, clock, patience }: Question,
  asking: (offered: Offered) => Promise<void>,
): Promise<Lease> {
  let offered: Offered | undefined;
  let refusals: readonly string[] = [];
  const entered = async (state: State): Promise<void> => {
    if ('refusals' in state) refusals = state.refusals;
    if (state.at !== 'requesting' || state.tries > 1) return;
    offered = offeredIn(state);
    await asking(offered);
  };
  const now = clock();
  const { signal } = new AbortController();
  const terms = { client, port, clock, signal, giveUpAt: now + patience, entered };
  const state = await exchange(terms, discover(client, now));
  if (state.at === 'bound') return state.lease;
  const network = `network "${record.network}"`;
  if (state.at === 'refused') throw new CniError(ErrorCode.Internal, `${network}: ${state.problem}`);
  const within = `within ${patience / 1000} s${refusals.length > 0 ? `, and said: ${refusals.at(-1)}` : ''}`;
  throw new CniError(
    ErrorCode.TryAgainLater,
    offered === undefined
      ? `${network}: no DHCP server offered an address to interface "${record.ifName}" ${within}`
      : `${network}: DHCP server ${offered.server} did not grant the address that it offered ${within}`,
    'the server may be down or out of addresses, or may not be on the network that the interface leads to',
  );
}

export function offeredIn({ offer }: State & { at: 'requesting' }): Offered {
  const text = (bytes: Uint8Array): string => formatIP({ family: 4, bytes });
  return { address: `${text(offer.address)}/32`, server: text(offer.server), serverMac: offer.serverMac };
}
