import { formatIP } from '../../../net/ip.ts';
import type { Protocol } from '../protocol.ts';
import {
  type Client,
  discover,
  dueAt,
  elapse,
  receive,
  release,
  resume,
  type Sending,
  type State,
  usable,
} from './client.ts';
import type { Lease } from './lease.ts';
import { openPort, type Received } from './port.ts';
import { type LeaseRecord, leaseRecords } from './records.ts';

/** Types of DHCP (RFC 2131). */
export interface Dhcp4 {
  readonly identity: Pick<LeaseRecord, 'broadcast' | 'options'>;
  readonly lease: Lease;
  readonly offered: NonNullable<LeaseRecord['offered']>;
  readonly state: State;
  readonly sending: Sending;
  readonly received: Received;
}

export const dhcp4: Protocol<Dhcp4> = {
  name: 'DHCP',
  records: leaseRecords,
  asksSame: (record, other) => JSON.stringify(record.options) === JSON.stringify(other.options),

  client({ options, broadcast }, { link }) {
    const client: Client = {
      hardwareAddress: Buffer.from(link.mac.replaceAll(':', ''), 'hex'),
      options: new Map(options.map(([code, value]) => [code, Buffer.from(value, 'hex')])),
      broadcast,
      random: Math.random,
    };
    return {
      begin: (now) => discover(client, now),
      receive: (state, { message, from }, now) => receive(client, state, message, from, now),
      elapse: (state, now) => elapse(client, state, now),
      release: (had) => release(client, had),
    };
  },

  async openPort({ namespace, link }) {
    return openPort(namespace, link.index);
  },

  seeking: { at: 'selecting', xid: 0, since: 0, dueAt: 0, tries: 0, refusals: [] },
  resume,
  dueAt,
  usable,

  offered(state) {
    if (state.at !== 'requesting' || state.tries > 1) return undefined;
    const { address, server, serverMac } = state.offer;
    const text = (bytes: Uint8Array): string => formatIP({ family: 4, bytes });
    return { address: `${text(address)}/32`, server: text(server), serverMac };
  },

  problem(state) {
    if (state.at === 'refused') return state.problem;
    return 'refusals' in state ? state.refusals.at(-1) : undefined;
  },

  routes: ({ routes }) => routes,

  async expire(seat) {
    await seat.setDown();
    return 'the interface is down';
  },
};
