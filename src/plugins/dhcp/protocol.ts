import { converse, type Rules, type Step, type Terms } from './converse.ts';
import type { Port } from './port.ts';
import type { LeaseRoute, RecordBase, Records } from './records.ts';
import type { Seat } from './seat.ts';

/* What a keeper of leases must know of a protocol. */

/** The types that a protocol goes by. */
export interface Types {
  /** What servers know an interface by. */
  readonly identity: object;
  readonly lease: { readonly address: string; readonly expiresAt: number };
  /** What a server was asked for. */
  readonly offered: { readonly address: string };
  readonly state: { readonly at: string };
  readonly sending: unknown;
  readonly received: unknown;
}

/** What is known of a lease. */
export type RecordOf<T extends Types> = RecordBase &
  T['identity'] & {
    readonly lease?: T['lease'] | undefined;
    /** What a server was asked for last, which it may have noted without that being known here. */
    readonly offered?: T['offered'] | undefined;
  };

export interface Protocol<T extends Types> {
  /** For people. */
  readonly name: string;
  /** What is noted in a directory. */
  records(directory: string): Records<RecordOf<T>>;
  /** Whether a record is of the same question to the servers. */
  asksSame(record: RecordOf<T>, other: RecordOf<T>): boolean;
  client(record: RecordOf<T>, seat: Seat): Client<T>;
  /**
   * @param patience Milliseconds that what messages are sent from is waited for.
   * @throws {CniError} 999 when there is nothing to send them from.
   * @throws {KernelError} when the interface is gone, or somebody in the pod has the port.
   */
  openPort(seat: Seat, patience: number): Promise<Port<T['sending'], T['received']>>;

  /** Looking for a server, from now on. */
  readonly seeking: T['state'];
  /** Going on with a lease of before. */
  resume(lease: T['lease']): T['state'];
  /** When to go on without an answer; undefined where nothing more is to come. */
  dueAt(state: T['state']): number | undefined;
  /** The lease that may be used in a state. */
  usable(state: T['state']): T['lease'] | undefined;
  /** What a server is about to be asked for, the first time. */
  offered(state: T['state']): T['offered'] | undefined;
  /** What the last server said that refused. */
  problem(state: T['state']): string | undefined;

  /** The routes that go with a lease's address. */
  routes(lease: T['lease']): readonly LeaseRoute[];
  /** Sees to it that nobody uses an address whose time is over. @returns What became of it, for people. */
  expire(seat: Seat, record: RecordOf<T>): Promise<string>;
}

/** Who asks, as what it says and makes of answers. */
export interface Client<T extends Types>
  extends Pick<Rules<T['state'], T['sending'], T['received']>, 'receive' | 'elapse'> {
  /** Begins to look for a server. */
  begin(now: number): Step<T['state'], T['sending']>;
  /** Gives an address back. */
  release(had: T['lease'] | T['offered']): T['sending'];
}

export interface Exchange<T extends Types> extends Terms<T['state']> {
  readonly client: Client<T>;
  readonly port: Port<T['sending'], T['received']>;
}

/** Nothing more is said then. A protocol's states have these names. */
const settled: ReadonlySet<string> = new Set(['bound', 'expired', 'refused']);
export const isSettled = ({ at }: Types['state']): boolean => settled.has(at);

/** Goes on from a step until there is a lease, or none to be had, or the time is up, as {@link converse} does. */
export function exchange<T extends Types>(
  { dueAt }: Protocol<T>,
  { client: { receive, elapse }, ...terms }: Exchange<T>,
  first: Step<T['state'], T['sending']>,
): Promise<T['state']> {
  return converse<T['state'], T['sending'], T['received']>({ ...terms, receive, elapse, dueAt, isSettled }, first);
}
