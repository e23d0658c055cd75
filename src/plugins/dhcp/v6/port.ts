import { LinkLocalSocket } from '../../../linux/link-local-socket.ts';
import type { NetworkNamespace } from '../../../linux/namespace.ts';
import { type IP, parseIP } from '../../../net/ip.ts';
import { type Port, portOf } from '../port.ts';
import { decodeMessage, encodeMessage, type Message } from './message.ts';

const clientPort = 546;
const serverPort = 547;
/** Servers and relays on the link (RFC 8415, section 7.1). A server that is meant alone is named in the message. */
const allServers = parseIP('ff02::1:2');

/**
 * @param index Of the interface.
 * @param own Its link-local address.
 * @throws {KernelError} EADDRNOTAVAIL when it is gone, EADDRINUSE when a client in the pod has the port.
 */
export function openPort(namespace: NetworkNamespace, index: number, own: IP): Port<Message, Message> {
  const socket = LinkLocalSocket.open(namespace, index, own, clientPort);
  const send = (message: Message): void => socket.send(encodeMessage(message), allServers, serverPort);
  // Servers may answer from any port (RFC 8415, section 7.2).
  return portOf(socket, send, ({ data }) => decodeMessage(data));
}
