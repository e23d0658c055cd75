import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkNamespace } from '../../linux/namespace.ts';
import { broadcastMac, isLinkDown, PacketSocket } from '../../linux/packet-socket.ts';
import { parseIP } from '../../net/ip.ts';
import { type Client, dueAt, elapse, receive, type Sending, type State, type Step } from './client.ts';
import { decodeDatagram, encodeDatagram, everybody } from './datagram.ts';
import { decodeMessage, encodeMessage, type Message } from './message.ts';

/* Carries what the client of client.ts sends to the network, and what is answered back to it. */

const clientPort = 68;
const serverPort = 67;

/** Packets read before others have their turn: somebody may send them faster than they are read. */
const mostAtOnce = 32;

/** Milliseconds of a clock that runs on while the node sleeps, and is not set by anybody. */
export type Clock = () => number;

/** Where messages leave and arrive: an interface in a namespace. */
export class Port implements Disposable {
  readonly #socket: PacketSocket;

  /** @param index Of the interface. @throws {KernelError} ENODEV when it is gone. */
  constructor(namespace: NetworkNamespace, index: number) {
    this.#socket = PacketSocket.open(namespace, index, clientPort);
  }

  /** Sends a message. What an interface that is down does not take is lost, as on any network. */
  send({ message, to }: Sending): void {
    const own = { family: 4, bytes: message.clientAddress } as const;
    const packet = encodeDatagram({
      source: { ip: own, port: clientPort },
      destination: { ip: to === undefined ? everybody : parseIP(to.server), port: serverPort },
      payload: encodeMessage(message),
    });
    try {
      this.#socket.send(packet, to?.serverMac || broadcastMac);
    } catch (error) {
      if (!isLinkDown(error)) throw error;
    }
  }

  /** Messages that are there, each with the hardware address that it came from. */
  receive(): (readonly [Message, string])[] {
    const messages: (readonly [Message, string])[] = [];
    for (let read = 0; read < mostAtOnce; read++) {
      const packet = this.#next();
      if (packet === undefined) break;
      const datagram = decodeDatagram(packet.data);
      const message = datagram?.source.port === serverPort ? decodeMessage(datagram.payload) : undefined;
      if (message !== undefined) messages.push([message, packet.from]);
    }
    return messages;
  }

  #next(): ReturnType<PacketSocket['receive']> {
    try {
      return this.#socket.receive();
    } catch (error) {
      if (!isLinkDown(error)) throw error;
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

export interface Exchange {
  readonly client: Client;
  readonly port: Pick<Port, 'send' | 'receive'>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** When no more is listened for, whatever the state is then. */
  readonly giveUpAt: number;
  /** Told of each state before its message is sent: what it means is to be on the disk by then. */
  entered?(state: State): Promise<void>;
}

/**
 * Goes on from a step until there is a lease, or none to be had, or the time is up.
 *
 * Nothing waits for the socket: it is looked at, at first after a millisecond, then after a twentieth of the time that the
 * answer has taken so far. A hundred leases that wait for a server that is gone take a twentieth of a processor in their
 * first seconds, less from then on, and no thread.
 *
 * @throws {Error} the signal's reason.
 */
export async function exchange(exchange: Exchange, first: Step): Promise<State> {
  const { port, signal, entered } = exchange;
  for (let step: Step | undefined = first; ; ) {
    const { state, send }: Step = step;
    await entered?.(state);
    signal.throwIfAborted();
    if (send !== undefined) port.send(send);
    if (isSettled(state)) return state;
    step = await nextStep(exchange, state);
    if (step === undefined) return state;
  }
}

const shortestLook = 1;
const longestLook = 500;
const partOfWait = 1 / 20;

/** @returns undefined when the time is up. */
async function nextStep({ client, port, clock, signal, giveUpAt }: Exchange, state: State): Promise<Step | undefined> {
  const due = dueAt(state) ?? 0;
  const began = clock();
  for (;;) {
    const now = clock();
    for (const [message, from] of port.receive()) {
      const step = receive(client, state, message, from, now);
      if (step !== undefined) return step;
    }
    if (now >= giveUpAt) return undefined;
    if (now >= due) return elapse(client, state, now);
    const look = Math.min(Math.max((now - began) * partOfWait, shortestLook), longestLook);
    await sleep(Math.min(look, due - now, giveUpAt - now), undefined, { signal });
  }
}

const isSettled = ({ at }: State): boolean => at === 'bound' || at === 'expired' || at === 'refused';
