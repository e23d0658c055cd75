import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, isIPv6 } from 'node:net';
import { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import type { JsonObject } from '../../src/cni/json.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { attachment, config, ip, runner, withResult } from './support.ts';

becomeNode();

type Direction = 'ingress' | 'egress';

/** What TCP moves, and what that is on the wire: 20 + 32 bytes of headers over IPv4, and 14 of Ethernet's. */
const wireShare = (1500 - 52) / 1514;
/** Milliseconds: until a connection has found its speed and a burst is over, and for how long it is measured then. */
interface Period {
  readonly warmUp: number;
  readonly measured: number;
}
const ofLimited: Period = { warmUp: 300, measured: 1_200 };
const ofFree: Period = { warmUp: 50, measured: 150 };
/** The machine may have other things to do; a limit that is not held is never met by chance. */
const tries = 6;

/**
 * Bits per second, on the wire, of a TCP connection from a pod to an address of the node.
 *
 * @param direction egress: the pod sends.
 */
async function speed(
  pod: TestNamespace,
  address: string,
  direction: Direction,
  period: Period = ofLimited,
): Promise<number> {
  const zeros = Buffer.alloc(65_536);
  await using sockets = new AsyncDisposableStack();
  const server = createServer((socket) => {
    sockets.defer(() => void socket.destroy());
    socket.on('error', () => undefined); // the other end goes when all is known
    if (direction === 'ingress')
      new Readable({
        read() {
          this.push(zeros);
        },
      }).pipe(socket);
  });
  server.listen(0);
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('cannot listen');
  const connection = once(server, 'connection');
  const flow = direction === 'egress' ? 'exec cat /dev/zero >&3' : 'exec cat <&3';
  const script = `exec 3<>/dev/tcp/${address}/${bound.port} && ${flow}`;
  const child = spawn('nsenter', [`--net=${pod.path}`, 'timeout', '20', 'bash', '-c', script], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'close');
  try {
    const [socket] = await Promise.race([
      connection,
      ended.then(() => Promise.reject(new Error(`no connection to ${address}`))),
    ]);
    const receiver = direction === 'egress' ? socket : child.stdout;
    return await speedOf(receiver, period);
  } finally {
    child.kill();
    await ended;
    server.close();
  }
}

/** From the first bytes after the warm-up to the last ones that are looked at. */
function speedOf(stream: Readable, { warmUp, measured }: Period): Promise<number> {
  return new Promise((resolve, reject) => {
    const first = performance.now();
    let start: number | undefined;
    let bytes = 0;
    stream.once('close', () => reject(new Error('the connection ended')));
    stream.on('data', (data: Buffer) => {
      const now = performance.now();
      if (start === undefined) {
        if (now - first >= warmUp) start = now;
        return;
      }
      bytes += data.length;
      if (now - start >= measured) resolve((8 * bytes * 1000) / (now - start) / wireShare);
    });
  });
}

/** The first speed that is as wanted, or the last one that is not. */
async function speedThat(isWanted: (speed: number) => boolean, measure: () => Promise<number>): Promise<number> {
  for (let left = tries; ; left--) {
    const found = await measure();
    if (left === 1 || isWanted(found)) return found;
  }
}

/** A pod whose node has an address in two networks of each family. */
async function pod(keys: JsonObject) {
  await using stack = new AsyncDisposableStack();
  const inside = stack.use(await testNamespace());
  await ip(undefined, 'link', 'add', 'cable', 'type', 'veth', 'peer', 'name', 'net1', 'netns', inside.path);
  stack.defer(async () => void (await ip(undefined, 'link', 'delete', 'cable')));
  const words = [
    [undefined, 'cable', ['10.1.2.1/24', '10.9.0.1/24', 'fd00:1::1/64', 'fd00:9::1/64']],
    [inside.path, 'net1', ['10.1.2.2/24', '10.9.0.2/24', 'fd00:1::2/64', 'fd00:9::2/64']],
  ] as const;
  for (const [path, name, addresses] of words) {
    await ip(path, 'link', 'set', name, 'up');
    for (const address of addresses)
      await ip(path, 'address', 'add', address, 'dev', name, ...(isIPv6(address.split('/')[0] ?? '') ? ['nodad'] : []));
  }
  const interfaces = [{ name: 'cable' }, { name: 'net1', sandbox: inside.path }];
  const network = config('bandwidth', { prevResult: { cniVersion: '1.1.0', interfaces }, ...keys });
  const place = attachment(inside.path);
  const result = await runner.add(network, place);
  stack.defer(() => runner.delete(withResult(network, result), place));
  const owned = stack.move();
  return { inside, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const rates = { ingress: 40_000_000, egress: 24_000_000 };
const limits = { ingressRate: rates.ingress, ingressBurst: 400_000, egressRate: rates.egress, egressBurst: 400_000 };
const listed = ['10.9.0.0/24', 'fd00:9::/64'];

const cases: readonly {
  readonly title: string;
  readonly keys: JsonObject;
  readonly limited: readonly string[];
  readonly free: readonly string[];
}[] = [
  { title: 'everything', keys: limits, limited: ['10.1.2.1', 'fd00:9::1'], free: [] },
  {
    title: 'everything but unshapedSubnets',
    keys: { ...limits, unshapedSubnets: listed },
    limited: ['10.1.2.1'],
    free: ['10.9.0.1', 'fd00:9::1'],
  },
  {
    title: 'shapedSubnets only, by the runtime',
    keys: { runtimeConfig: { bandwidth: { ...limits, shapedSubnets: listed } } },
    limited: ['10.9.0.1', 'fd00:9::1'],
    free: ['10.1.2.1'],
  },
];

describe('what bandwidth holds to a rate', () => {
  for (const { title, keys, limited, free } of cases) {
    test(`${title}: within 10 %, both ways`, async () => {
      await using attached = await pod(keys);
      for (const direction of ['ingress', 'egress'] as const) {
        const rate = rates[direction];
        for (const address of limited) {
          const isHeld = (found: number): boolean => Math.abs(found - rate) <= rate / 10;
          const found = await speedThat(isHeld, () => speed(attached.inside, address, direction));
          assert.ok(isHeld(found), `${direction} by ${address}: ${found} bits per second, wanted ${rate}`);
        }
        for (const address of free) {
          const isFree = (found: number): boolean => found > 4 * rate;
          const found = await speedThat(isFree, () => speed(attached.inside, address, direction, ofFree));
          assert.ok(isFree(found), `${direction} by ${address}: ${found} bits per second, wanted as fast as can be`);
        }
      }
    });
  }
});
