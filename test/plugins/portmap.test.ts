import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import type { JsonObject } from '../../src/cni/json.ts';
import type { PluginConfig } from '../../src/cni/plugin.ts';
import type { Result } from '../../src/cni/result.ts';
import { runCommand } from '../../src/linux/command.ts';
import { changeTable, listTable } from '../../src/linux/iptables.ts';
import { NetworkNamespace } from '../../src/linux/namespace.ts';
import { ensureCommands } from '../../tools/debian.ts';
import { testDirectory } from '../support/directory.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { addWire, becomeNodeWith } from '../support/node.ts';
import { attachment, config, ip, runner, withResult } from './support.ts';

becomeNodeWith();

const run = promisify(execFile);
const backends = ['iptables', 'nftables'] as const;

/** A host beyond the node. */
let outside: TestNamespace;
before(async () => {
  await ensureCommands(['iptables', 'nft']);
  outside = await testNamespace();
  await addWire('ens5');
  await ip(undefined, 'link', 'set', 'ens5p', 'netns', outside.path);
  await ip(outside.path, 'link', 'set', 'ens5p', 'up');
  for (const [netns, name, host] of [
    [undefined, 'ens5', 1],
    [outside.path, 'ens5p', 2],
  ] as const) {
    await ip(netns, 'address', 'add', `192.0.2.${host}/24`, 'dev', name);
    await ip(netns, 'address', 'add', `2001:db8::${host}/64`, 'dev', name, 'nodad');
  }
  await ip(undefined, 'address', 'add', '192.0.2.3/24', 'dev', 'ens5');
});
after(() => outside[Symbol.asyncDispose]());

interface Pod extends AsyncDisposable {
  readonly path: string;
  /** What the interface plugin returned. */
  readonly result: Result;
}

const bridge = (address: number, ifName: string): PluginConfig =>
  config('bridge', {
    bridge: ifName === 'net1' ? 'br0' : 'br1',
    isDefaultGateway: ifName === 'net1',
    isGateway: true,
    hairpinMode: true,
    ipam: {
      type: 'static',
      addresses: (ifName === 'net1' ? ['10.1.2', 'fd00:1::'] : ['10.1.3', 'fd00:3::']).map((start) =>
        start.includes(':')
          ? { address: `${start}${address}/64`, gateway: `${start}1` }
          : { address: `${start}.${address}/24`, gateway: `${start}.1` },
      ),
    },
  });

/** A pod on a bridge that is its gateway. */
async function startPod(containerId: string, address: number): Promise<Pod> {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await testNamespace());
  const result = await connectPod(home.path, containerId, address, 'net1');
  stack.defer(() => runner.delete(withResult(bridge(address, 'net1'), result), attachment(home.path, { containerId })));
  const kept = stack.move();
  return { path: home.path, result, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const connectPod = (path: string, containerId: string, address: number, ifName: string): Promise<Result> =>
  runner.add(bridge(address, ifName), attachment(path, { containerId, ifName }));

const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const echo = { hostPort: 7007, containerPort: 7, protocol: 'udp' };

const mapped = (backend: string, portMappings: readonly JsonObject[], keys: JsonObject = {}): PluginConfig =>
  config('portmap', { backend, ...keys, runtimeConfig: { portMappings } });

const add = (
  network: PluginConfig,
  { result, path }: Pick<Pod, 'result' | 'path'>,
  containerId = 'c1',
  ifName = 'net1',
) => runner.add(withResult(network, result), attachment(path, { containerId, ifName }));

const remove = (
  network: PluginConfig,
  { result, path }: Pick<Pod, 'result' | 'path'>,
  containerId = 'c1',
  ifName = 'net1',
) => runner.delete(withResult(network, result), attachment(path, { containerId, ifName }));

/** The rules that are about containers. */
async function rules(): Promise<string[]> {
  const tables = await Promise.all([listTable(4, 'nat'), listTable(6, 'nat')]);
  const listed = await runCommand('nft', ['list', 'ruleset']);
  return [
    ...tables.flat().filter((line) => line.includes('CNI-DN-')),
    ...listed.split('\n').filter((line) => /comment "([0-9a-f]{16} )?c\d/.test(line)),
  ];
}

/** A program in a pod that tells whoever connects its name, and who it is that connects. */
function serve(path: string, port: number, name: string): Disposable {
  using place = NetworkNamespace.open(path);
  const server: Server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${name} ${socket.remoteAddress?.replace(/^::ffff:/, '')}`);
  });
  place.run(() => server.listen(port));
  return { [Symbol.dispose]: () => server.close() };
}

/** @returns What a program at an address says to whoever comes from a namespace; undefined where nobody answers. */
async function ask(from: string | undefined, address: string, port: number): Promise<string | undefined> {
  const enter = from === undefined ? [] : [`--net=${from}`];
  const script = 'exec 3<>"/dev/tcp/$0/$1" && exec cat <&3';
  const words = [...enter, 'timeout', '5', 'bash', '-c', script, address, `${port}`];
  return run('nsenter', words).then(
    ({ stdout }) => stdout,
    () => undefined,
  );
}

interface Speaker extends Disposable {
  /** Sends a datagram to an address. */
  say(address: string, port: number): void;
  /** The texts of datagrams that came. */
  readonly heard: string[];
}

/** A UDP socket of a namespace. With a name, it answers what it hears with it. */
function speaker(path: string, family: 4 | 6, port: number, name?: string): Speaker {
  const socket = createSocket({
    type: `udp${family}`,
    lookup: (host, _options, callback) => callback(null, host, family),
  });
  const heard: string[] = [];
  socket.on('error', () => undefined);
  socket.on('message', (text, sender) => {
    heard.push(`${text}`);
    if (name !== undefined) socket.send(name, sender.port, sender.address);
  });
  using place = NetworkNamespace.open(path);
  place.run(() => {
    socket.bind(port, family === 4 ? '0.0.0.0' : '::');
  });
  return {
    heard,
    say: (address, to) => socket.send('hello', to, address),
    [Symbol.dispose]: () => socket.close(),
  };
}

/** Says hello until an answer comes. */
async function answerTo({ say, heard }: Speaker, address: string, port: number): Promise<string | undefined> {
  const known = heard.length;
  for (let tries = 0; tries < 40; tries++) {
    say(address, port);
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (heard.length > known) return heard.at(-1);
  }
  return undefined;
}

for (const backend of backends) {
  describe(`by ${backend}`, { concurrency: false }, () => {
    test('a port of the node is reached from outside, from the node, and from the pod, until the DEL', async () => {
      await using pod = await startPod('c1', 9);
      using _server = serve(pod.path, 80, 'one');
      const network = mapped(backend, [web]);
      await add(network, pod);
      const asked = [
        [outside.path, '192.0.2.1', '192.0.2.2'],
        [outside.path, '2001:db8::1', '2001:db8::2'],
        [undefined, '127.0.0.1', '10.1.2.1'],
        [undefined, '192.0.2.1', '192.0.2.1'],
        [undefined, '2001:db8::1', '2001:db8::1'],
        [pod.path, '192.0.2.1', '10.1.2.1'],
        [pod.path, '10.1.2.1', '10.1.2.1'],
        [pod.path, '2001:db8::1', 'fd00:1::1'],
      ] as const;
      for (const [from, address, seen] of asked) {
        assert.equal(await ask(from, address, 8080), `one ${seen}`, `${from ?? 'the node'} to ${address}`);
      }
      assert.equal(await ask(outside.path, '192.0.2.1', 8081), undefined);
      await runner.check(withResult(network, pod.result), attachment(pod.path));

      await remove(network, pod);
      for (const [from, address] of asked) assert.equal(await ask(from, address, 8080), undefined);
      assert.deepEqual(await rules(), []);
    });

    test('a mapping with an address of the node is reached by that one only', async () => {
      await using pod = await startPod('c1', 9);
      using _server = serve(pod.path, 80, 'one');
      const bound = ['192.0.2.3', '2001:db8::1'].map((hostIP, index) => ({ ...web, hostPort: 8080 + index, hostIP }));
      const network = mapped(backend, [...bound, { ...web, hostPort: 8090, hostIP: '0.0.0.0' }]);
      await add(network, pod);
      assert.equal(await ask(outside.path, '192.0.2.3', 8080), 'one 192.0.2.2');
      assert.equal(await ask(outside.path, '192.0.2.1', 8080), undefined);
      assert.equal(await ask(outside.path, '2001:db8::1', 8081), 'one 2001:db8::2');
      assert.equal(await ask(outside.path, '2001:db8::1', 8080), undefined);
      assert.equal(await ask(outside.path, '192.0.2.1', 8090), 'one 192.0.2.2');
      assert.equal(await ask(outside.path, '2001:db8::1', 8090), undefined);
      await remove(network, pod);
    });

    test('a client of UDP that never stops reaches the pod that comes after the first', async () => {
      const network = mapped(backend, [echo]);
      for (const [family, address] of [
        [4, '192.0.2.1'],
        [6, '2001:db8::1'],
      ] as const) {
        using client = speaker(outside.path, family, 5353);
        const answers: (string | undefined)[] = [];
        for (const host of [9, 10]) {
          await using pod = await startPod('c1', host);
          using _server = speaker(pod.path, family, 7, `pod ${host}`);
          // Known before there is a rule for it: to the node itself, where nobody listens.
          client.say(address, 7007);
          await add(network, pod);
          answers.push(await answerTo(client, address, 7007));
          await remove(network, pod);
        }
        assert.deepEqual(answers, ['pod 9', 'pod 10']);
      }
    });

    test('with masqAll, all comes from the node', async () => {
      await using pod = await startPod('c1', 9);
      using _server = serve(pod.path, 80, 'one');
      const network = mapped(backend, [web], { masqAll: true });
      await add(network, pod);
      assert.equal(await ask(outside.path, '192.0.2.1', 8080), 'one 10.1.2.1');
      assert.equal(await ask(outside.path, '2001:db8::1', 8080), 'one fd00:1::1');
      await remove(network, pod);
    });

    test("one pod's conditions are not another's", async () => {
      await using one = await startPod('c1', 9);
      await using two = await startPod('c2', 10);
      using _one = serve(one.path, 80, 'one');
      using _two = serve(two.path, 80, 'two');
      const conditionsV4 = backend === 'iptables' ? ['-s', '203.0.113.0/24'] : ['ip', 'saddr', '203.0.113.0/24'];
      const strict = mapped(backend, [web], { conditionsV4 });
      const open = mapped(backend, [{ ...web, hostPort: 8081 }]);
      for (const order of [1, -1]) {
        const steps = [() => add(strict, one, 'c1'), () => add(open, two, 'c2')];
        for (const step of order === 1 ? steps : steps.toReversed()) await step();
        assert.equal(await ask(outside.path, '192.0.2.1', 8080), undefined);
        assert.equal(await ask(outside.path, '2001:db8::1', 8080), 'one 2001:db8::2');
        assert.equal(await ask(outside.path, '192.0.2.1', 8081), 'two 192.0.2.2');
        await remove(strict, one, 'c1');
        assert.equal(await ask(outside.path, '192.0.2.1', 8081), 'two 192.0.2.2');
        await remove(open, two, 'c2');
      }
      assert.deepEqual(await rules(), []);
    });

    test("a pod reaches its neighbour by the node's port", async () => {
      await using one = await startPod('c1', 9);
      await using two = await startPod('c2', 10);
      using _server = serve(one.path, 80, 'one');
      const network = mapped(backend, [web]);
      await add(network, one);
      assert.equal(await ask(two.path, '192.0.2.1', 8080), 'one 10.1.2.1');
      assert.equal(await ask(two.path, '2001:db8::1', 8080), 'one fd00:1::1');
      // Not by the port, it comes from where it comes from.
      assert.equal(await ask(two.path, '10.1.2.9', 80), 'one 10.1.2.10');
      await remove(network, one);
    });

    test('of two pods with one port, the one that came last has it', async () => {
      await using one = await startPod('c1', 9);
      await using two = await startPod('c2', 10);
      using _one = serve(one.path, 80, 'one');
      using _two = serve(two.path, 80, 'two');
      const network = mapped(backend, [web]);
      await add(network, one, 'c1');
      await add(network, two, 'c2');
      assert.equal(await ask(outside.path, '192.0.2.1', 8080), 'two 192.0.2.2');
      await remove(network, two, 'c2');
      assert.equal(await ask(outside.path, '192.0.2.1', 8080), 'one 192.0.2.2');
      await remove(network, one, 'c1');
    });

    test("a DEL leaves what leads to the pod's other interface, in the same network and in another", async () => {
      for (const name of ['test-net', 'test-net2']) {
        await using pod = await startPod('c1', 9);
        using _web = serve(pod.path, 80, 'one');
        const second = { path: pod.path, result: await connectPod(pod.path, 'c1', 9, 'net2') };
        const first = mapped(backend, [web]);
        const other = { ...mapped(backend, [{ ...web, hostPort: 8081 }]), name };
        await add(first, pod);
        const before = await rules();
        await add(other, second, 'c1', 'net2');
        for (const port of [8080, 8081])
          assert.equal((await ask(undefined, '192.0.2.1', port)) !== undefined, true, `${port}`);
        for (const _ of [1, 2]) await remove(other, second, 'c1', 'net2');
        assert.deepEqual(await rules(), before);
        assert.equal(await ask(outside.path, '192.0.2.1', 8080), 'one 192.0.2.2');
        // Without a result, the network alone says what is to go.
        if (name !== 'test-net') {
          await add(other, second, 'c1', 'net2');
          await runner.delete(other, attachment('', { ifName: 'net2' }));
          assert.deepEqual(await rules(), before);
        }
        await remove(first, pod);
        assert.deepEqual(await rules(), []);
        await runner.delete(withResult(bridge(9, 'net2'), second.result), attachment(pod.path, { ifName: 'net2' }));
      }
    });

    test('an ADD again leaves one set of rules, and a DEL by whatever configuration takes them', async () => {
      await using pod = await startPod('c1', 9);
      const network = mapped(backend, [web, echo]);
      await add(network, pod);
      const before = await rules();
      await add(network, pod);
      assert.deepEqual(await rules(), before);
      const broken = config('portmap', { backend: 'ipfw', runtimeConfig: { portMappings: [web] } });
      await runner.delete(broken, attachment('/run/netns/plx-none'));
      assert.deepEqual(await rules(), []);
    });

    test('a GC removes what belongs to no valid attachment, and leaves other networks alone', async () => {
      await using one = await startPod('c1', 9);
      await using two = await startPod('c2', 10);
      const network = mapped(backend, [web]);
      const other = { ...mapped(backend, [echo]), name: 'test-net2' };
      await add(network, one, 'c1');
      await add(other, two, 'c2');
      const before = await rules();
      // Of the same pod, in the network that is looked at.
      const lost: Result = { interfaces: [], ips: [{ address: '10.1.2.30/24' }], routes: [], dns: {} };
      await add(mapped(backend, [{ ...web, hostPort: 8081 }]), { ...two, result: lost }, 'c2');
      await runner.gc({ ...network, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'net1' }] }, []);
      assert.deepEqual((await rules()).sort(), before.sort());
      await remove(network, one, 'c1');
      await remove(other, two, 'c2');
      assert.deepEqual(await rules(), []);
    });
  });
}

test('a DEL takes the rules of both backends', async () => {
  await using pod = await startPod('c1', 9);
  for (const backend of backends) await add(mapped(backend, [web]), pod);
  assert.equal(
    (await rules()).some((rule) => rule.includes('CNI-DN-')),
    true,
  );
  await remove(mapped('nftables', [web]), pod);
  assert.deepEqual(await rules(), []);
});

describe('which backend is taken', () => {
  /** Puts programs before all others in PATH that fail as on a node that lacks what they need. */
  async function withoutPrograms(names: readonly string[], work: () => Promise<void>): Promise<void> {
    await using directory = await testDirectory();
    const path = process.env['PATH'];
    try {
      for (const name of names) {
        await writeFile(join(directory.path, name), '#!/bin/sh\necho "Protocol not supported" >&2\nexit 3\n');
        await chmod(join(directory.path, name), 0o755);
      }
      process.env['PATH'] = `${directory.path}:${path}`;
      await work();
    } finally {
      process.env['PATH'] = path;
    }
  }

  const iptables = ['iptables', 'ip6tables', 'iptables-restore', 'ip6tables-restore'];
  const pod = { path: '', result: { interfaces: [], ips: [{ address: '10.1.2.9/24' }], routes: [], dns: {} } };
  const unless = config('portmap', { runtimeConfig: { portMappings: [web] } });
  const taken = [
    { lacking: [], keys: {}, expected: 'CNI-DN-' },
    { lacking: ['nft'], keys: {}, expected: 'CNI-DN-' },
    { lacking: iptables, keys: {}, expected: 'dnat to' },
    { lacking: [], keys: { conditionsV4: ['ip', 'saddr', '10.0.0.0/8'] }, expected: 'dnat to' },
    { lacking: [], keys: { conditionsV4: ['!', '-s', '10.0.0.0/8'] }, expected: 'CNI-DN-' },
  ];
  for (const { lacking, keys, expected } of taken) {
    test(`with ${JSON.stringify(keys)}, where ${lacking[0] ?? 'nothing'} is lacking`, async () => {
      const network = { ...unless, ...keys };
      await withoutPrograms(lacking, async () => void (await add(network, pod)));
      assert.match((await rules()).join('\n'), new RegExp(expected));
      assert.equal(
        (await rules()).some((rule) => rule.includes('CNI-DN-')),
        expected === 'CNI-DN-',
      );
      await withoutPrograms(lacking, () => remove(network, pod));
      assert.deepEqual(await rules(), []);
    });
  }

  test('an ADD fails where both are lacking, and leaves nothing', async () => {
    await withoutPrograms([...iptables, 'nft'], () =>
      assert.rejects(add(unless, pod), {
        message: 'network "test-net": port mappings by nftables: nft: Protocol not supported',
        details: 'port mappings need iptables or nftables on the node',
      }),
    );
    assert.deepEqual(await rules(), []);
  });
});

test('many pods at once have the ports that each asked for', async () => {
  const pods = Array.from({ length: 8 }, (_, index) => ({ containerId: `c${index}`, host: 20 + index }));
  for (const backend of backends) {
    const results = pods.map(({ containerId, host }) => ({
      containerId,
      network: mapped(backend, [{ ...web, hostPort: 9000 + host }]),
      pod: { path: '', result: { interfaces: [], ips: [{ address: `10.1.2.${host}/24` }], routes: [], dns: {} } },
    }));
    await Promise.all(results.map(({ containerId, network, pod }) => add(network, pod, containerId)));
    for (const { containerId, network, pod } of results) {
      await runner.check(withResult(network, pod.result), attachment('/run/netns/plx-none', { containerId }));
    }
    await Promise.all(results.map(({ containerId, network, pod }) => remove(network, pod, containerId)));
    assert.deepEqual(await rules(), []);
  }
});

test('a chain for marks of somebody else is used, and stays', async () => {
  for (const family of [4, 6] as const) await changeTable(family, 'nat', ['-N PLX-MARK']);
  await using pod = await startPod('c1', 9);
  const network = mapped('iptables', [web], { externalSetMarkChain: 'PLX-MARK' });
  await add(network, pod);
  assert.equal((await rules()).filter((rule) => rule.endsWith('-j PLX-MARK')).length, 3);
  await remove(network, pod);
  assert.deepEqual(await rules(), []);
  for (const family of [4, 6] as const) await changeTable(family, 'nat', ['-X PLX-MARK']);
});

describe('what a condition may not say', () => {
  const hostile: readonly { readonly backend: string; readonly words: readonly string[] }[] = [
    { backend: 'iptables', words: ['-s', '10.0.0.0/8\nCOMMIT\n*filter\n-P INPUT DROP'] },
    { backend: 'iptables', words: ['-M', '/tmp/program'] },
    { backend: 'iptables', words: ['-s', '10.0.0.0/8', '--modprobe=/tmp/program'] },
    { backend: 'iptables', words: ['-s', '10.0.0.0/8', '--modp', '/tmp/program'] },
    { backend: 'iptables', words: ['-vM/tmp/program'] },
    { backend: 'iptables', words: ['-t', 'filter'] },
    { backend: 'iptables', words: ['-s', '10.0.0.0/8', '-j', 'ACCEPT'] },
    { backend: 'nftables', words: ['ip', 'saddr', '10.0.0.0/8', ';', 'flush', 'ruleset'] },
    { backend: 'nftables', words: ['ip saddr 10.0.0.0/8\nflush ruleset\n'] },
    { backend: 'nftables', words: ['ip', 'saddr', '10.0.0.0/8', '#'] },
    { backend: 'nftables', words: ['meta', 'mark', 'set', '0x4000'] },
    { backend: 'nftables', words: ['tcp', 'dport', '1', 'drop'] },
  ];
  for (const { backend, words } of hostile) {
    test(`${backend}: ${JSON.stringify(words)}`, async () => {
      const result = { interfaces: [], ips: [{ address: '10.1.2.9/24' }], routes: [], dns: {} };
      const before = [await rules(), await runCommand('nft', ['list', 'ruleset'])];
      await assert.rejects(
        add(mapped(backend, [web], { conditionsV4: words }), { path: '', result }),
        /conditionsV4|port mappings by nftables/,
      );
      assert.deepEqual([await rules(), await runCommand('nft', ['list', 'ruleset'])], before);
    });
  }
});
