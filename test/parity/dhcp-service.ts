import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { goPlugins } from '../../tools/debian.ts';
import { DhcpServer, type ServerOptions } from '../support/dhcp-server.ts';
import { ip, networkNamespace } from './node.ts';
import type { Scene } from './snapshot.ts';

/** What the dhcp plugins need around them. */
export interface DhcpService extends AsyncDisposable {
  /** What the server has given away. */
  leases(): Promise<string[]>;
}

/** Starts a server at the other end of the pod's net1, and the daemon that the original leaves its work to. */
export async function startDhcp({ pod, data }: Scene, options: ServerOptions): Promise<DhcpService> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await networkNamespace());
  await ip(path, [
    `link add srv type veth peer name net1 netns ${basename(pod)}`,
    'address add 10.5.0.1/24 dev srv',
    'link set srv up',
  ]);
  // Otherwise the original loses its first message, and waits 10 s before it sends another.
  await ip(pod, ['link set net1 up']);
  const server = stack.use(await DhcpServer.start(path, 'srv', options));
  const socket = join(data, 'dhcp.sock');
  const daemon = spawn(join(await goPlugins('1.9'), 'dhcp'), ['daemon', '-socketpath', socket], { stdio: 'ignore' });
  const ended = once(daemon, 'exit');
  stack.defer(async () => {
    daemon.kill('SIGKILL');
    await ended;
  });
  for (let waited = 0; !(await isThere(socket)); waited += 10) {
    if (waited > 10_000) throw new Error(`${socket} does not appear`);
    await sleep(10);
  }
  const kept = stack.move();
  return { leases: () => server.leases(), [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
