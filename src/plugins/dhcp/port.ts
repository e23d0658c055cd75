import { isLost } from '../../linux/datagram-socket.ts';

/** Where messages leave and arrive: an interface in a namespace. It never waits. */
export interface Port<Sending, Received> extends Disposable {
  /** Sends a message. What an interface that is down does not take is lost, as on any network. */
  send(sending: Sending): void;
  /** Messages that are there. */
  receive(): readonly Received[];
}

/** Datagrams read before others have their turn: somebody may send them faster than they are read. */
const mostAtOnce = 32;

/**
 * @param socket Goes with the port.
 * @param decode Undefined for what is no message of the protocol's.
 */
export function portOf<Datagram, Sending, Received>(
  socket: Disposable & { receive(): Datagram | undefined },
  send: (sending: Sending) => void,
  decode: (datagram: Datagram) => Received | undefined,
): Port<Sending, Received> {
  return {
    send: (sending) => unlessLost(() => send(sending)),
    receive() {
      const messages: Received[] = [];
      for (let read = 0; read < mostAtOnce; read++) {
        const datagram = unlessLost(() => socket.receive());
        if (datagram === undefined) break;
        const message = decode(datagram);
        if (message !== undefined) messages.push(message);
      }
      return messages;
    },
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

function unlessLost<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (!isLost(error)) throw error;
    return undefined;
  }
}
