import type { NetworkNamespace } from '../../../linux/namespace.ts';
import { broadcastMac, PacketSocket } from '../../../linux/packet-socket.ts';
import { parseIP } from '../../../net/ip.ts';
import { type Port, portOf } from '../port.ts';
import type { Sending } from './client.ts';
import { decodeDatagram, encodeDatagram, everybody } from './datagram.ts';
import { decodeMessage, encodeMessage, type Message } from './message.ts';

const clientPort = 68;
const serverPort = 67;

/** A message, and the hardware address that it came from. */
export interface Received {
  readonly message: Message;
  readonly from: string;
}

/** @param index Of the interface. @throws {KernelError} ENODEV when it is gone. */
export function openPort(namespace: NetworkNamespace, index: number): Port<Sending, Received> {
  const socket = PacketSocket.open(namespace, index, clientPort);
  const send = ({ message, to }: Sending): void => {
    const own = { family: 4, bytes: message.clientAddress } as const;
    const packet = encodeDatagram({
      source: { ip: own, port: clientPort },
      destination: { ip: to === undefined ? everybody : parseIP(to.server), port: serverPort },
      payload: encodeMessage(message),
    });
    socket.send(packet, to?.serverMac || broadcastMac);
  };
  return portOf(socket, send, ({ data, from }) => {
    const datagram = decodeDatagram(data);
    const message = datagram?.source.port === serverPort ? decodeMessage(datagram.payload) : undefined;
    return message && { message, from };
  });
}
