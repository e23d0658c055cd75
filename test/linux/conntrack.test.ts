import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { before, test } from 'node:test';
import { runCommand } from '../../src/linux/command.ts';
import { type Destination, forgetConnections } from '../../src/linux/conntrack.ts';
import { parseIP } from '../../src/net/ip.ts';
import { ensureCommands } from '../../tools/debian.ts';
import { becomeNodeWith } from '../support/node.ts';

becomeNodeWith();

before(async () => {
  await ensureCommands(['nft']);
  // Connections are remembered where a rule asks for them.
  const rule = 'add rule inet plexus output ct state new accept';
  const chain = 'add chain inet plexus output { type filter hook output priority 0 ; }';
  await runCommand('nft', ['--file', '-'], `add table inet plexus\n${chain}\n${rule}\n`);
});

/** Sends datagrams to ports that nobody listens on. */
async function send(...targets: readonly (readonly [address: string, port: number])[]): Promise<void> {
  for (const [address, port] of targets) {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', () => undefined);
    await new Promise((sent) => socket.send('x', port, address, sent));
    socket.close();
    await once(socket, 'close');
  }
}

/** What the kernel remembers: `udp 127.0.0.1:53`. */
async function remembered(): Promise<string[]> {
  const lines = (await runCommand('cat', ['/proc/net/nf_conntrack'])).split('\n');
  const found = lines.flatMap((line) => {
    const [, protocol, address, port] = /^ipv\d +\d+ (\w+) .*?dst=(\S+) sport=\d+ dport=(\d+)/.exec(line) ?? [];
    return protocol === undefined ? [] : [`${protocol} ${address}:${port}`];
  });
  return [...new Set(found)].sort();
}

const everything = [
  'udp 0000:0000:0000:0000:0000:0000:0000:0001:53',
  'udp 127.0.0.1:53',
  'udp 127.0.0.1:54',
  'udp 127.0.0.2:53',
];

const cases: readonly {
  readonly title: string;
  readonly forget: readonly Destination[];
  readonly gone: readonly string[];
}[] = [
  {
    title: 'of a port',
    forget: [{ family: 4, protocol: 'udp', port: 53 }],
    gone: ['udp 127.0.0.1:53', 'udp 127.0.0.2:53'],
  },
  { title: 'of a port of IPv6', forget: [{ family: 6, protocol: 'udp', port: 53 }], gone: everything.slice(0, 1) },
  {
    title: 'of a port of one address',
    forget: [{ family: 4, protocol: 'udp', port: 53, ip: parseIP('127.0.0.2') }],
    gone: ['udp 127.0.0.2:53'],
  },
  {
    title: 'of several ports',
    forget: [
      { family: 4, protocol: 'udp', port: 53 },
      { family: 4, protocol: 'udp', port: 54 },
    ],
    gone: everything.slice(1),
  },
  { title: 'of another protocol, which are none', forget: [{ family: 4, protocol: 'tcp', port: 53 }], gone: [] },
  { title: 'of a port that nobody used', forget: [{ family: 4, protocol: 'udp', port: 55 }], gone: [] },
  { title: 'of nothing', forget: [], gone: [] },
];

for (const { title, forget, gone } of cases) {
  test(`connections ${title} are forgotten, and no others`, async () => {
    await send(['127.0.0.1', 53], ['127.0.0.2', 53], ['127.0.0.1', 54], ['::1', 53]);
    assert.deepEqual(await remembered(), everything);
    await forgetConnections(forget);
    assert.deepEqual(
      await remembered(),
      everything.filter((each) => !gone.includes(each)),
    );
  });
}

test('a kernel that remembers nothing has nothing to forget', async () => {
  await runCommand('nft', ['flush', 'ruleset']);
  await forgetConnections([{ family: 4, protocol: 'udp', port: 60_000 }]);
});
