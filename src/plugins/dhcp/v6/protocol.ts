import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CniError, ErrorCode } from '../../../cni/error.ts';
import type { IP } from '../../../net/ip.ts';
import type { Protocol } from '../protocol.ts';
import { type Holder, keyOf } from '../records.ts';
import type { Seat } from '../seat.ts';
import {
  type Client,
  dueAt,
  elapse,
  type Offer,
  receive,
  release,
  resume,
  type State,
  solicit,
  usable,
} from './client.ts';
import type { Lease } from './lease.ts';
import type { Message } from './message.ts';
import { openPort } from './port.ts';
import { type LeaseRecord, leaseRecords } from './records.ts';

/** Types of DHCPv6 (RFC 8415). */
export interface Dhcp6 {
  readonly identity: Pick<LeaseRecord, 'duid'>;
  readonly lease: Lease;
  readonly offered: Offer;
  readonly state: State;
  readonly sending: Message;
  readonly received: Message;
}

export const dhcp6: Protocol<Dhcp6> = {
  name: 'DHCPv6',
  records: leaseRecords,
  asksSame: (record, other) => record.duid === other.duid,

  client({ duid }) {
    const client: Client = { duid: Buffer.from(duid, 'hex'), random: Math.random };
    return {
      begin: (now) => solicit(client, now),
      receive: (state, message, now) => receive(client, state, message, now),
      elapse: (state, now) => elapse(client, state, now),
      release: (had) => release(client, had),
    };
  },

  async openPort(seat, patience) {
    return openPort(seat.namespace, seat.link.index, await linkLocalOf(seat, patience));
  },

  seeking: { at: 'soliciting', transaction: 0, since: 0, dueAt: 0, wait: 0, tries: 0, longest: 3_600_000 },
  resume,
  dueAt,
  usable,

  offered(state) {
    if (state.at !== 'requesting' || state.tries > 1) return undefined;
    const { address, server } = state.offer;
    return { address, server };
  },

  problem: (state) => ('problem' in state ? state.problem : undefined),

  // What else is on the link, routers say.
  routes: () => [],

  async expire(seat, { status, lease }) {
    // The interface stays up: it may have a lease of IPv4 that is good.
    if (lease !== undefined && status === 'bound') await seat.dropAddress(lease.address);
    return 'the address is gone';
  },
};

/** RFC 8415, section 11.5: a DUID of type 4 is a UUID. */
const uuidType = 4;
const uuidLength = 16;

/**
 * What servers know the container's interface in the network by. Not its hardware address: that may be shared, as ipvlan's
 * is, or another at the next ADD.
 */
export function duidOf(holder: Holder): string {
  const uuid = createHash('sha256')
    .update(`dhcpv6 ${keyOf(holder)}`)
    .digest()
    .subarray(0, uuidLength);
  return Buffer.concat([Uint8Array.of(0, uuidType), uuid]).toString('hex');
}

/** Milliseconds between two looks. */
const look = 20;

/** The address that messages are sent from, once it may be used: when the detection of duplicates is over. */
async function linkLocalOf(seat: Seat, patience: number): Promise<IP> {
  for (const deadline = performance.now() + patience; ; await sleep(look)) {
    const own = await seat.linkLocal();
    if (own !== undefined) return own;
    if (performance.now() < deadline) continue;
    throw new CniError(
      ErrorCode.Internal,
      `interface "${seat.link.name}" has no link-local address that it may use`,
      'DHCPv6 is asked from that address; it may be in use on the network already, or addr_gen_mode may be "none"',
    );
  }
}
