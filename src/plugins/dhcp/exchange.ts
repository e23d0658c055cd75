import type { NetworkNamespace } from '../../linux/namespace.ts';
import { broadcastMac, isLinkDown, PacketSocket } from '../../linux/packet-socket.ts';
import { parseIP } from '../../net/ip.ts';
import { type Client, dueAt, elapse, receive, type Sending, type State, type Step } from './client.ts';
import { converse, type Rules, type Terms } from './converse.ts';
import { decodeDatagram, encodeDatagram, everybody } from './datagram.ts';
import { decodeMessage, encodeMessage, type Message } from './message.ts';

/* Carries what the client of client.ts sends to the network, and what is answered back to it. */

const clientPort = 68;
const serverPort = 67;

/** Packets read before others have their turn: somebody may send them faster than they are read. */
const mostAtOnce = 32;

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

export interface Exchange extends Terms<State> {
  readonly client: Client;
  readonly port: Pick<Port, 'send' | 'receive'>;
}

/** Goes on from a step until there is a lease, or none to be had, or the time is up, as {@link converse} does. */
export function exchange({ client, ...terms }: Exchange, first: Step): Promise<State> {
  const rules: Rules<State, Sending, readonly [Message, string]> = {
    receive: (state, [message, from], now) => receive(client, state, message, from, now),
    elapse: (state, now) => elapse(client, state, now),
    dueAt,
    isSettled: ({ at }) => at === 'bound' || at === 'expired' || at === 'refused',
  };
  return converse({ ...terms, ...rules }, first);
}
