import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Tells whoever connects which address it came from. */
const server = `
  const { createServer } = require('node:net');
  const server = createServer((socket) => socket.end(socket.remoteAddress));
  server.listen(0, process.argv[1], () => console.log(server.address().port));
`;

const client = 'exec 3<>"/dev/tcp/$0/$1" && exec cat <&3';

/**
 * Connects from one namespace to an address that another has, over TCP.
 *
 * @param from Path of a namespace; undefined for the node.
 * @returns The address that the connection came from, as the other end saw it.
 * @throws {Error} where nothing comes through.
 */
export async function connect(from: string | undefined, to: string | undefined, address: string): Promise<string> {
  const listener = spawn('nsenter', [...enter(to), process.execPath, '-e', server, address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const port = await firstLine(listener);
    const { stdout } = await run('nsenter', [...enter(from), 'timeout', '20', 'bash', '-c', client, address, port]);
    return stdout;
  } finally {
    listener.kill('SIGKILL');
  }
}

const enter = (netns: string | undefined): string[] => (netns === undefined ? [] : [`--net=${netns}`]);

async function firstLine({ stdout }: ChildProcess): Promise<string> {
  if (stdout === null) throw new Error('a child process without a pipe');
  const [line] = await once(createInterface(stdout), 'line', { signal: AbortSignal.timeout(20_000) });
  return String(line);
}
