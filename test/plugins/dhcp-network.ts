import { execFile } from 'node:child_process';
import { uptime } from 'node:os';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import type { Plugin } from '../../src/cni/plugin.ts';
import { Runner } from '../../src/cni/runner.ts';
import { builtinPlugins } from '../../src/plugins/builtin.ts';
import { createDhcp, type Dhcp } from '../../src/plugins/dhcp.ts';
import { DhcpServer, type ServerOptions } from '../support/dhcp-server.ts';
import { testDirectory } from '../support/directory.ts';
import { testNamespace } from '../support/namespace.ts';

const run = promisify(execFile);

let count = 0;

/** The commands of ip(8), in a namespace or on the node. */
export async function ipCommand(netns: string | undefined, command: string): Promise<void> {
  const enter = netns === undefined ? [] : [`--net=${netns}`];
  await run('nsenter', [...enter, 'ip', ...command.split(' ')]);
}

/** Makes a plugin and a keeper, as a process has it that has just started. */
export interface Process extends AsyncDisposable {
  readonly runner: Runner;
  readonly keeper: Dhcp['keeper'];
  /** What was logged. */
  readonly log: string[];
}

export interface Network extends AsyncDisposable {
  /** The node's interface that leads to the server. */
  readonly master: string;
  readonly server: DhcpServer;
  /** Namespace of the server. */
  readonly serverSpace: string;
  /** Where leases are noted. */
  readonly directory: string;
  /** @param skew Seconds that its clock is ahead. */
  start(options?: { readonly skew?: number; readonly patience?: number }): Promise<Process>;
}

/** Runs built-in plugins, this one among them in the place of the node's own. */
export function runnerWith(plugin: Plugin): Runner {
  return new Runner({ builtin: [...builtinPlugins.filter(({ type }) => type !== plugin.type), plugin] });
}

/** A wire from the node to a DHCP server, 10.5.0.1. */
export async function dhcpNetwork(options: ServerOptions = {}): Promise<Network> {
  await using stack = new AsyncDisposableStack();
  const space = stack.use(await testNamespace());
  const master = `ens${100 + count++}`;
  await ipCommand(undefined, `link add ${master} type veth peer name srv netns ${basename(space.path)}`);
  await ipCommand(undefined, `link set ${master} up`);
  await ipCommand(space.path, 'address add 10.5.0.1/24 dev srv');
  await ipCommand(space.path, 'address add fd00:5::1/64 dev srv nodad');
  // Hosts follow routers that announce themselves from a link-local address: at once, not when its detection is over.
  await ipCommand(space.path, 'address add fe80::1/64 dev srv nodad');
  await ipCommand(space.path, 'link set srv up');
  const directory = stack.use(await testDirectory()).path;
  const server = stack.use(await DhcpServer.start(space.path, 'srv', options));
  const kept = stack.move();
  return {
    master,
    server,
    serverSpace: space.path,
    directory,
    async start({ skew = 0, patience = 10_000 } = {}) {
      const { plugin, keeper } = createDhcp({ directory, patience, clock: () => (uptime() + skew) * 1000 });
      const log: string[] = [];
      const note = (fields: object, message: string): number => log.push(`${message} ${JSON.stringify(fields)}`);
      await keeper.resume({ info: note, warn: note });
      return { runner: runnerWith(plugin), keeper, log, [Symbol.asyncDispose]: () => keeper.close() };
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
