import { execFile } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { NetworkNamespace } from '../../src/linux/namespace.ts';

const run = promisify(execFile);

const client = 'exec 3<>"/dev/tcp/$0/$1" && exec cat <&3';

/**
 * Connects from one namespace to an address that another has, over TCP.
 *
 * @param from Path of a namespace; undefined for the node.
 * @returns The address that the connection came from, as the other end saw it.
 * @throws {Error} where nothing comes through.
 */
export async function connect(from: string | undefined, to: string | undefined, address: string): Promise<string> {
  using place = to === undefined ? NetworkNamespace.host() : NetworkNamespace.open(to);
  const server = createServer((socket) => socket.end(`${socket.remoteAddress}`));
  // Without an address to listen on, the socket is made before this returns: in that namespace.
  place.run(() => server.listen(0));
  try {
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error(`cannot listen in ${place.path}`);
    const enter = from === undefined ? [] : [`--net=${from}`];
    const words: string[] = [...enter, 'timeout', '20', 'bash', '-c', client, address, `${bound.port}`];
    const { stdout } = await run('nsenter', words);
    return stdout.replace(/^::ffff:/, '');
  } finally {
    server.close();
  }
}

/** What the IP header and that of UDP take of a packet. */
const udpOverhead = { 4: 28, 6: 48 } as const;

/** Milliseconds between tries of {@link exchange}. */
const exchangeInterval = 250;

/**
 * Sends a UDP datagram to an address that another namespace has, and waits for it to come back.
 *
 * @param from Path of a namespace.
 * @param packet Bytes of the IP packet; one larger than the path's MTU travels in fragments, all others whole (udp(7)).
 * @param tries How often it is sent: neighbours must be found first, and addresses may be tentative for a while.
 * @throws {Error} where it does not come back.
 */
export async function exchange(from: string, to: string, address: string, packet: number, tries = 40): Promise<void> {
  const family = isIPv6(address) ? 6 : 4;
  using there = openUdp(to, family);
  using here = openUdp(from, family);
  there.socket.on('message', (data, { address: sender, port }) => there.socket.send(data, port, sender));
  const payload = Buffer.alloc(packet - udpOverhead[family], packet % 251);
  const answer = once(here.socket, 'message');
  // Until a neighbour is known, an error may be told for what is sent to it.
  for (const { socket } of [there, here]) socket.on('error', () => undefined);
  for (let sent = 0; sent < tries; sent++) {
    here.socket.send(payload, there.socket.address().port, address);
    const back = await Promise.race([answer, sleep(exchangeInterval)]);
    if (back === undefined) continue;
    if (!payload.equals(back[0])) throw new Error(`another datagram came back from ${address}`);
    return;
  }
  throw new Error(`a packet of ${packet} bytes to ${address} does not come back`);
}

/** A socket on any address of a namespace: the lookup that answers at once has it bound before this returns. */
function openUdp(path: string, family: 4 | 6): Disposable & { readonly socket: Socket } {
  const any = family === 4 ? '0.0.0.0' : '::';
  const socket = createSocket({
    type: `udp${family}`,
    lookup: (host, _options, callback) => callback(null, host, family),
  });
  using place = NetworkNamespace.open(path);
  place.run(() => {
    socket.bind(0, any);
  });
  return { socket, [Symbol.dispose]: () => socket.close() };
}
