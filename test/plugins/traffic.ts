import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
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
