import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonArray, isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import { LinkLocalSocket } from '../../src/linux/link-local-socket.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';
import { parseIP } from '../../src/net/ip.ts';
import { type TestNamespace, testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { dhcpNetwork, ipCommand } from './dhcp-network.ts';
import { attachment, config, ip, stateOf, withResult } from './support.ts';

becomeNode();

const range = (from: string, to: string): string => `--dhcp-range=${from},${to},64,2m`;
const ten = range('fd00:5::10', 'fd00:5::1f');
const announced = '--enable-ra';

/** A pod whose addresses can be used at once: the detection of duplicates takes up to two seconds. */
async function quickPod(): Promise<TestNamespace> {
  const space = await testNamespace();
  await writeSysctl(space.namespace, 0, 'ipv6', 'conf', 'default', 'accept_dad');
  return space;
}

const configOf = (master: string, ipam: JsonObject = {}, type = 'macvlan'): ReturnType<typeof config> =>
  config(type, { master, ipam: { type: 'dhcp', ipv4: false, ipv6: 'dhcpv6', ...ipam } });

const addressesOf = (netns: string): Promise<string[]> => addressesWithin(netns, 'global');
const linkLocals = async (netns: string): Promise<string[]> =>
  (await addressesWithin(netns, 'link')).map((each) => `${each.split('/')[0]}`);

async function addressesWithin(netns: string, scope: string): Promise<string[]> {
  const [link] = await ip(netns, '-6', 'address', 'show', 'net1');
  const info = link?.['addr_info'];
  const all = isJsonArray(info) ? info.filter(isJsonObject) : [];
  return all.filter((each) => each['scope'] === scope).map((each) => `${each['local']}/${each['prefixlen']}`);
}

async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; !(await isSo()); waited += 20) {
    if (waited > 15_000) assert.fail(`never: ${what}`);
    await sleep(20);
  }
}

describe('dhcp with ipv6 "dhcpv6", with a real server', { concurrency: 8 }, () => {
  test('an address of each family is given, with name servers and the announced router, checked, and given back', async () => {
    await using network = await dhcpNetwork({
      options: [
        ten,
        announced,
        '--dhcp-option=option:dns-server,10.5.0.53',
        '--dhcp-option=option6:dns-server,[fd00:5::53]',
        '--dhcp-option=option6:domain-search,pods.example',
      ],
    });
    await using process = await network.start();
    await using pod = await testNamespace();
    const before = await stateOf(pod.path);
    const wanted = configOf(network.master, { ipv4: true, request: [{ option: '6' }] });
    const result = await process.runner.add(wanted, attachment(pod.path));
    const [ip4, ip6, ...more] = result.ips;
    assert.deepEqual(more, []);
    assert.match(`${ip4?.address}`, /^10\.5\.0\./);
    assert.match(`${ip6?.address}`, /^fd00:5::1[0-9a-f]\/128$/);
    assert.match(`${ip6?.gateway}`, /^fe80::/);
    assert.deepEqual(await addressesOf(pod.path), [ip6?.address]);
    const { dns } = await process.runner.add(config('dhcp', { ipam: wanted['ipam'] ?? {} }), attachment(pod.path));
    assert.deepEqual(dns, { nameservers: ['10.5.0.53', 'fd00:5::53'], search: ['pods.example'] });
    assert.equal(network.server.log.match(/DHCPREPLY/g)?.length, 1, 'a lease that is there is not asked for again');
    await ipCommand(pod.path, `-6 route get fd00:5::1 from ${ip6?.address.split('/')[0]}`);
    await process.runner.check(withResult(wanted, result), attachment(pod.path));
    for (const _ of [1, 2]) await process.runner.delete(withResult(wanted, result), attachment(pod.path));
    await network.server.logged(/DHCPRELEASE\(srv\) 00:04:/);
    assert.deepEqual(await stateOf(pod.path), before);
    assert.deepEqual(await readdir(network.directory), []);
  });

  test('a server without an address left, and one that is not there, fail the ADD in words, which leaves nothing', async () => {
    await using network = await dhcpNetwork({ options: [range('fd00:5::10', 'fd00:5::10'), announced] });
    await using process = await network.start({ patience: 1_500 });
    await using pod = await quickPod();
    await using other = await quickPod();
    const before = await stateOf(other.path);
    const wanted = configOf(network.master);
    const result = await process.runner.add(wanted, attachment(pod.path));
    assert.deepEqual(
      result.ips.map(({ address }) => address),
      ['fd00:5::10/128'],
    );
    const second = attachment(other.path, { containerId: 'c2' });
    await assert.rejects(process.runner.add(wanted, second), {
      code: 11,
      message:
        /no DHCPv6 server offered an address to interface "net1" within 1\.5 s, one said: it has no address left/,
    });
    assert.deepEqual(await stateOf(other.path), before);
    assert.equal((await readdir(network.directory)).length, 1);
    await process.runner.delete(wanted, attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/);
    // What was given back can be had.
    assert.equal((await process.runner.add(wanted, second)).ips[0]?.address, 'fd00:5::10/128');
    await process.runner.delete(wanted, second);
    await network.server.stop();
    await assert.rejects(process.runner.add(wanted, second), { code: 11, message: /interface "net1" within 1\.5 s$/ });
    assert.deepEqual(await readdir(network.directory), []);
  });

  test('a process that was killed has its lease renewed by the next, which gives it back', async () => {
    await using network = await dhcpNetwork({ options: [ten, announced] });
    await using pod = await quickPod();
    const program = join(import.meta.dirname, 'dhcp-process.ts');
    const ipam = JSON.stringify({ ipv4: false, ipv6: 'dhcpv6' });
    const child = spawn(process.execPath, [program, network.directory, network.master, pod.path, ipam], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await ended;
    const from = network.server.log.length;
    // By then, half of the two minutes is over.
    await using next = await network.start({ skew: 61 });
    await network.server.logged(/DHCPRENEW.*DHCPREPLY/s, from);
    await eventually('a line of the log', () => next.log.some((line) => /DHCPv6 lease was prolonged/.test(line)));
    await next.runner.delete(configOf(network.master), attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/, from);
  });

  test('a server that restarts and remembers renews; one that forgot and has other addresses gives another, which the pod has then', async () => {
    await using network = await dhcpNetwork({ options: [ten, announced] });
    await using pod = await quickPod();
    const wanted = configOf(network.master);
    const result = await (async () => {
      await using process = await network.start();
      return await process.runner.add(wanted, attachment(pod.path));
    })();
    // With the lease, it notes the identity that a renewal is for.
    await eventually('the server has noted it', async () => (await network.server.leases()).length > 0);
    await network.server.stop();
    await network.server.start({ options: [ten, announced] });
    {
      const from = network.server.log.length;
      await using process = await network.start({ skew: 61 });
      await network.server.logged(/DHCPRENEW.*DHCPREPLY/s, from);
      await eventually('a line of the log', () => process.log.some((line) => /DHCPv6 lease was prolonged/.test(line)));
      assert.deepEqual(
        await addressesOf(pod.path),
        result.ips.map(({ address }) => address),
      );
    }
    await network.server.stop();
    // It has another identity then, and is not asked before any server is.
    await network.server.forget();
    await ipCommand(network.serverSpace, 'address add fd00:6::1/64 dev srv nodad');
    await ipCommand(network.serverSpace, 'address delete fd00:5::1/64 dev srv');
    await network.server.start({ options: [range('fd00:6::10', 'fd00:6::1f'), announced] });
    await using process = await network.start({ skew: 170 });
    await eventually('another address', async () =>
      /^fd00:6::1[0-9a-f]\/128$/.test((await addressesOf(pod.path)).join()),
    );
    await eventually('a warning', () => process.log.some((line) => /DHCPv6 lease is another/.test(line)));
    const known = withResult(wanted, result);
    await assert.rejects(process.runner.check(known, attachment(pod.path)), /DHCPv6 lease .* by now/);
    await process.runner.delete(known, attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/);
  });

  test('when a lease has run out, the address is gone, the interface is up, CHECK says so, and DEL succeeds', async () => {
    await using network = await dhcpNetwork({ options: [ten, announced] });
    await using pod = await quickPod();
    const wanted = configOf(network.master);
    {
      await using process = await network.start();
      await process.runner.add(wanted, attachment(pod.path));
    }
    await network.server.stop();
    await using later = await network.start({ skew: 121 });
    await eventually('the address is gone', async () => (await addressesOf(pod.path)).length === 0);
    await eventually('a warning', () => later.log.some((line) => /has expired/.test(line)));
    const [link] = await ip(pod.path, 'link', 'show', 'net1');
    assert.match(JSON.stringify(link?.['flags']), /"UP"/);
    await assert.rejects(later.runner.check(wanted, attachment(pod.path)), /DHCPv6 lease of .* was expired/);
    await later.runner.delete(wanted, attachment(pod.path));
    assert.deepEqual(await readdir(network.directory), []);
  });

  test('a client in the pod that has the port fails an ADD, and neither DEL nor the end of a lease', async () => {
    await using network = await dhcpNetwork({ options: [ten, announced] });
    await using pod = await quickPod();
    const wanted = configOf(network.master);
    {
      await using process = await network.start();
      await process.runner.add(wanted, attachment(pod.path));
    }
    const [link] = await ip(pod.path, 'link', 'show', 'net1');
    const [own] = await linkLocals(pod.path);
    using _ = LinkLocalSocket.open(pod.namespace, Number(link?.['ifindex']), parseIP(`${own}`), 546);
    {
      await using process = await network.start({ skew: 61 });
      await eventually('a warning', () => process.log.some((line) => /could not be prolonged now/.test(line)));
      assert.equal((await addressesOf(pod.path)).length, 1);
    }
    await using later = await network.start({ skew: 121 });
    await eventually('the address is gone', async () => (await addressesOf(pod.path)).length === 0);
    const again = later.runner.add(config('dhcp', { ipam: wanted['ipam'] ?? {} }), attachment(pod.path));
    await assert.rejects(again, /in use/);
    await later.runner.delete(wanted, attachment(pod.path));
    assert.deepEqual(await readdir(network.directory), []);
  });

  test('what a killed ADD had asked for is given back by DEL, what no valid attachment has by GC', async () => {
    await using network = await dhcpNetwork({ options: [ten, announced] });
    await using pod = await quickPod();
    await using other = await quickPod();
    const wanted = configOf(network.master);
    {
      await using process = await network.start();
      await process.runner.add(wanted, attachment(pod.path));
    }
    const [file = ''] = await readdir(network.directory);
    const path = join(network.directory, file);
    const { lease, ...record } = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...record, status: 'asked', offered: lease }));
    await using next = await network.start();
    await next.runner.delete(wanted, attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/);
    const from = network.server.log.length;
    await next.runner.add(wanted, attachment(other.path, { containerId: 'c2' }));
    await next.runner.gc({ ...wanted, 'cni.dev/valid-attachments': [] }, []);
    await network.server.logged(/DHCPRELEASE/, from);
    assert.deepEqual(await readdir(network.directory), []);
    await next.runner.delete(wanted, attachment(other.path, { containerId: 'c2' }));
    await next.runner.delete(wanted, attachment('/run/netns/plx-test-gone'));
  });
});
