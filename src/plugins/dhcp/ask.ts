import { CniError, ErrorCode } from '../../cni/error.ts';
import type { Clock } from './converse.ts';
import type { Port } from './port.ts';
import { type Client, exchange, type Protocol, type Types } from './protocol.ts';
import type { Holder } from './records.ts';

export interface Question<T extends Types> {
  /** Who asks, for messages. */
  readonly holder: Holder;
  readonly client: Client<T>;
  readonly port: Port<T['sending'], T['received']>;
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
export async function ask<T extends Types>(
  protocol: Protocol<T>,
  { holder, client, port, clock, patience }: Question<T>,
  asking: (offered: T['offered']) => Promise<void>,
): Promise<T['lease']> {
  let last: T['offered'] | undefined;
  let problem: string | undefined;
  const entered = async (state: T['state']): Promise<void> => {
    problem = protocol.problem(state) ?? problem;
    const offered = protocol.offered(state);
    if (offered === undefined) return;
    last = offered;
    await asking(offered);
  };
  const now = clock();
  const { signal } = new AbortController();
  const terms = { client, port, clock, signal, giveUpAt: now + patience, entered };
  const state = await exchange(protocol, terms, client.begin(now));
  const lease = protocol.usable(state);
  if (lease !== undefined) return lease;
  const network = `network "${holder.network}"`;
  if (state.at === 'refused') throw new CniError(ErrorCode.Internal, `${network}: ${problem}`);
  const within = `within ${patience / 1000} s${problem === undefined ? '' : `, one said: ${problem}`}`;
  throw new CniError(
    ErrorCode.TryAgainLater,
    last === undefined
      ? `${network}: no ${protocol.name} server offered an address to interface "${holder.ifName}" ${within}`
      : `${network}: no ${protocol.name} server granted the address ${last.address} that was offered ${within}`,
    'the server may be down or out of addresses, or may not be on the network that the interface leads to',
  );
}
