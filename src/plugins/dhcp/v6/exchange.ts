import { isKernelError } from '../../../linux/errors.ts';
import { isLost, LinkLocalSocket } from '../../../linux/link-local-socket.ts';
import type { NetworkNamespace } from '../../../linux/namespace.ts';
import { type IP, parseIP } from '../../../net/ip.ts';
import { converse, type Rules, type Terms } from '../converse.ts';
import { type Client, dueAt, elapse, receive, type State, type Step } from './client.ts';
import { decodeMessage, encodeMessage, type Message } from './message.ts';

/* Carries what the client of client.ts sends to the link, and what is answered back to it. */

const clientPort = 546;
const serverPort = 547;
/** Servers and relays on the link (RFC 8415, section 7.1). */
const allServers = parseIP('ff02::1:2');

/** Datagrams read before others have their turn: somebody may send them faster than they are read. */
const mostAtOnce = 32;

/** Where messages leave and arrive: an interface in a namespace. */
export class Port implements Disposable {
  readonly #socket: LinkLocalSocket;

  /**
   * @param index Of the interface.
   * @param own Its link-local address.
   * @throws {KernelError} EADDRNOTAVAIL when it is gone, EADDRINUSE when a client in the pod has the port.
   */
  constructor(namespace: NetworkNamespace, index: number, own: IP) {
    this.#socket = LinkLocalSocket.open(namespace, index, own, clientPort);
  }

  /** The same for DEL: undefined when it cannot be had, as where a client in the pod has it. */
  static openIfAny(namespace: NetworkNamespace, index: number, own: IP): Port | undefined {
    try {
      return new Port(namespace, index, own);
    } catch (error) {
      if (isKernelError(error)) return undefined;
      throw error;
    }
  }

  /** Sends a message to all servers; one that is meant alone is named in it. What the link does not take is lost. */
  send(message: Message): void {
    try {
      this.#socket.send(encodeMessage(message), allServers, serverPort);
    } catch (error) {
      if (!isLost(error)) throw error;
    }
  }

  /** Messages that are there. Servers may answer from any port (RFC 8415, section 7.2). */
  receive(): Message[] {
    const messages: Message[] = [];
    for (let read = 0; read < mostAtOnce; read++) {
      const datagram = this.#next();
      if (datagram === undefined) break;
      const message = decodeMessage(datagram.data);
      if (message !== undefined) messages.push(message);
    }
    return messages;
  }

  #next(): ReturnType<LinkLocalSocket['receive']> {
    try {
      return this.#socket.receive();
    } catch (error) {
      if (!isLost(error)) throw error;
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

/** Goes on from a step until there is a lease, or it has ended, or the time is up, as {@link converse} does. */
export function exchange({ client, ...terms }: Exchange, first: Step): Promise<State> {
  const rules: Rules<State, Message, Message> = {
    receive: (state, message, now) => receive(client, state, message, now),
    elapse: (state, now) => elapse(client, state, now),
    dueAt,
    isSettled: ({ at }) => at === 'bound' || at === 'expired',
  };
  return converse({ ...terms, ...rules }, first);
}
