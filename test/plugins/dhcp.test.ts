import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isJsonArray, isJsonObject, type JsonObject } from '../../src/cni/json.ts';
import { testNamespace } from '../support/namespace.ts';
import { becomeNode } from '../support/node.ts';
import { dhcpNetwork, ipCommand } from './dhcp-network.ts';
import { attachment, config, ip, stateOf, withResult } from './support.ts';

becomeNode();

const quick = ['--dhcp-option=option:T1,3', '--dhcp-option=option:T2,6'];

const configOf = (master: string, ipam: JsonObject = {}, type = 'macvlan'): ReturnType<typeof config> =>
  config(type, { master, ipam: { type: 'dhcp', ...ipam } });

async function addressesOf(netns: string, family = 'inet'): Promise<string[]> {
  const [link] = await ip(netns, 'address', 'show', 'net1');
  const info = link?.['addr_info'];
  const all = isJsonArray(info) ? info.filter(isJsonObject) : [];
  return all
    .filter((each) => each['family'] === family && each['scope'] === 'global')
    .map((each) => `${each['local']}`);
}

async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; !(await isSo()); waited += 20) {
    if (waited > 15_000) assert.fail(`never: ${what}`);
    await sleep(20);
  }
}

describe('dhcp, with a real server', { concurrency: 4 }, () => {
  test('a lease is given, with what was provided and requested, checked, and given back', async () => {
    await using network = await dhcpNetwork({
      options: [
        '--dhcp-option=option:dns-server,10.5.0.53',
        '--domain=pods.example',
        '--dhcp-option=119,a.example,b.a.example',
      ],
    });
    await using process = await network.start();
    await using pod = await testNamespace();
    const before = await stateOf(pod.path);
    const wanted = configOf(network.master, {
      provide: [
        { option: 'host-name', value: 'unused', fromArg: 'K8S_POD_NAME' },
        { option: '60', value: 'plexus' },
      ],
      request: [{ option: '6' }, { option: '15' }, { option: '119' }],
    });
    const call = attachment(pod.path, { args: 'IgnoreUnknown=1;K8S_POD_NAME=web-0' });
    const result = await process.runner.add(wanted, call);
    const [{ address = '', gateway } = {}] = result.ips;
    assert.match(address, /^10\.5\.0\.(1\d|20)\/24$/);
    assert.equal(gateway, '10.5.0.1');
    assert.deepEqual(result.routes, [{ dst: '0.0.0.0/0', gw: '10.5.0.1' }]);
    assert.match(network.server.log, /client provides name: web-0/);
    assert.match(network.server.log, /vendor class: plexus/);
    assert.match(network.server.log, /requested options: 6:dns-server, 15:domain-name, 119:domain-search, /);
    const own = config('dhcp', { ipam: wanted['ipam'] ?? {} });
    const { dns } = await process.runner.add(own, call);
    assert.deepEqual(dns, {
      nameservers: ['10.5.0.53'],
      domain: 'pods.example',
      search: ['a.example', 'b.a.example'],
    });
    assert.equal(network.server.log.match(/DHCPACK/g)?.length, 1, 'a lease that is there is not asked for again');
    await process.runner.check(withResult(wanted, result), call);
    for (const _ of [1, 2]) await process.runner.delete(withResult(wanted, result), call);
    await network.server.logged(/DHCPRELEASE\(srv\) 10\.5\.0\.\d+/);
    assert.deepEqual(await stateOf(pod.path), before);
    assert.deepEqual(await readdir(network.directory), []);
  });

  for (const type of ['bridge', 'host-device', 'macvlan']) {
    test(`${type} has its addresses from a server, and the server has them back`, async () => {
      await using network = await dhcpNetwork();
      await using process = await network.start();
      await using pod = await testNamespace();
      if (type === 'bridge') {
        await ipCommand(undefined, 'link add name brdhcp type bridge');
        await ipCommand(undefined, `link set ${network.master} master brdhcp`);
        await ipCommand(undefined, 'link set brdhcp up');
      }
      const keys = { bridge: { bridge: 'brdhcp' }, 'host-device': { device: network.master } };
      const own = type === 'bridge' || type === 'host-device' ? keys[type] : { master: network.master };
      const wanted = config(type, { ...own, ipam: { type: 'dhcp' } });
      const result = await process.runner.add(wanted, attachment(pod.path));
      assert.deepEqual(
        result.ips.map(({ address }) => address.split('/')[0]),
        await addressesOf(pod.path),
      );
      await process.runner.check(withResult(wanted, result), attachment(pod.path));
      await process.runner.delete(withResult(wanted, result), attachment(pod.path));
      await network.server.logged(/DHCPRELEASE/);
      assert.deepEqual(await readdir(network.directory), []);
    });
  }

  const routeCases = [
    {
      options: ['--dhcp-option=121,10.9.0.0/16,10.5.0.7,0.0.0.0/0,10.5.0.8'],
      ways: ['10.9.0.0/16 10.5.0.7', '0.0.0.0/0 10.5.0.8'],
    },
    {
      options: ['--dhcp-option=33,10.0.0.0,10.5.0.7,192.168.7.9,10.5.0.8'],
      ways: ['10.0.0.0/8 10.5.0.7', '192.168.7.9/32 10.5.0.8', '0.0.0.0/0 10.5.0.1'],
    },
    { options: ['--dhcp-option=3'], ways: [] },
  ];
  for (const { options, ways } of routeCases) {
    test(`${options.join(' ')} makes the routes ${ways.join(', ') || 'none'}`, async () => {
      await using network = await dhcpNetwork({ options });
      await using process = await network.start();
      await using pod = await testNamespace();
      const wanted = configOf(network.master, { request: [{ option: '121' }, { option: '33' }] });
      const { routes } = await process.runner.add(wanted, attachment(pod.path));
      assert.deepEqual(
        routes.map(({ dst, gw }) => `${dst} ${gw}`),
        ways,
      );
      await process.runner.delete(wanted, attachment(pod.path));
    });
  }

  test('a server that is slow is waited for', async () => {
    await using network = await dhcpNetwork({ options: ['--dhcp-reply-delay=1'] });
    await using process = await network.start();
    await using pod = await testNamespace();
    const { ips } = await process.runner.add(configOf(network.master), attachment(pod.path));
    assert.equal(ips.length, 1);
    await process.runner.delete(configOf(network.master), attachment(pod.path));
  });

  test('a server that comes up late is found', async () => {
    await using network = await dhcpNetwork();
    await network.server.stop();
    await using process = await network.start();
    await using pod = await testNamespace();
    const adding = process.runner.add(configOf(network.master), attachment(pod.path));
    await sleep(100);
    await network.server.start();
    assert.equal((await adding).ips.length, 1);
    await process.runner.delete(configOf(network.master), attachment(pod.path));
  });

  test('a server without an address left, and one that ignores the pod, fail the ADD, which leaves nothing', async () => {
    await using network = await dhcpNetwork({ range: ['10.5.0.10', '10.5.0.10'] });
    await using process = await network.start({ patience: 1_000 });
    await using pod = await testNamespace();
    await using other = await testNamespace();
    const before = await stateOf(other.path);
    await process.runner.add(configOf(network.master), attachment(pod.path));
    const second = attachment(other.path, { containerId: 'c2' });
    const refused = { code: 11, message: /no DHCP server offered an address to interface "net1" within 1 s/ };
    await assert.rejects(process.runner.add(configOf(network.master), second), refused);
    assert.match(network.server.log, /no address available/);
    assert.deepEqual(await stateOf(other.path), before);
    assert.equal((await readdir(network.directory)).length, 1);
    await process.runner.delete(configOf(network.master), attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/);
    // What was given back can be had.
    assert.equal((await process.runner.add(configOf(network.master), second)).ips[0]?.address, '10.5.0.10/24');
    await process.runner.delete(configOf(network.master), second);
  });

  test('a lease is renewed, and by the next process after one has ended', async () => {
    await using network = await dhcpNetwork({ options: quick });
    await using pod = await testNamespace();
    const wanted = configOf(network.master);
    {
      await using process = await network.start();
      await process.runner.add(wanted, attachment(pod.path));
      await network.server.logged(/DHCPACK.*DHCPACK/s);
      await eventually('a line of the log', () => process.log.some((line) => /was prolonged/.test(line)));
    }
    const from = network.server.log.length;
    await sleep(3_100);
    assert.equal(network.server.log.slice(from), '', 'nobody keeps it between two processes');
    await using next = await network.start();
    await network.server.logged(/DHCPREQUEST.*DHCPACK/s, from);
    await next.runner.delete(wanted, attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/, from);
  });

  test('a process that was killed has its lease kept and given back by the next', async () => {
    await using network = await dhcpNetwork();
    await using pod = await testNamespace();
    const program = join(import.meta.dirname, 'dhcp-process.ts');
    const child = spawn(process.execPath, [program, network.directory, network.master, pod.path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(child, 'exit');
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await ended;
    const from = network.server.log.length;
    // By then, half of the two minutes is over.
    await using next = await network.start({ skew: 61 });
    await network.server.logged(/DHCPREQUEST.*DHCPACK/s, from);
    await next.runner.delete(configOf(network.master), attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/, from);
  });

  test('a server that restarts and remembers renews; one that forgot and has other addresses gives another, which the pod has then', async () => {
    await using network = await dhcpNetwork({ options: quick });
    await using process = await network.start();
    await using pod = await testNamespace();
    const wanted = configOf(network.master);
    const result = await process.runner.add(wanted, attachment(pod.path));
    await network.server.stop();
    await network.server.start({ options: quick });
    const remembered = network.server.log.length;
    await network.server.logged(/DHCPACK/, remembered);
    assert.deepEqual(await addressesOf(pod.path), [`${result.ips[0]?.address}`.split('/')[0]]);

    await network.server.stop();
    await network.server.forget();
    await ipCommand(network.serverSpace, 'address add 10.5.0.2/24 dev srv');
    const moved = ['--dhcp-authoritative', '--dhcp-option=3,10.5.0.2', ...quick];
    await network.server.start({ range: ['10.5.0.100', '10.5.0.110'], options: moved });
    await eventually('another address', async () => /^10\.5\.0\.1[01]\d$/.test((await addressesOf(pod.path)).join()));
    assert.match(network.server.log, /DHCPNAK/);
    await eventually('a warning', () => process.log.some((line) => /the DHCP lease is another/.test(line)));
    const [way] = await ip(pod.path, 'route', 'show', 'default');
    assert.equal(way?.['gateway'], '10.5.0.2');
    const known = withResult(wanted, result);
    await assert.rejects(process.runner.check(known, attachment(pod.path)), /lease for interface "net1" is .* by now/);
    await process.runner.delete(known, attachment(pod.path));
    await network.server.logged(/DHCPRELEASE\(srv\) 10\.5\.0\.1[01]\d/);
  });

  test('when a lease has run out, the interface is down, CHECK says so, and DEL succeeds', async () => {
    await using network = await dhcpNetwork();
    await using pod = await testNamespace();
    const wanted = configOf(network.master);
    {
      await using process = await network.start();
      await process.runner.add(wanted, attachment(pod.path));
    }
    await network.server.stop();
    await using later = await network.start({ skew: 121 });
    await eventually('the interface is down', async () => {
      const [link] = await ip(pod.path, 'link', 'show', 'net1');
      return link !== undefined && !JSON.stringify(link['flags']).includes('"UP"');
    });
    await eventually('a warning', () => later.log.some((line) => /has expired/.test(line)));
    await assert.rejects(later.runner.check(wanted, attachment(pod.path)), /was expired/);
    await later.runner.delete(wanted, attachment(pod.path));
    assert.deepEqual(await readdir(network.directory), []);
  });

  test('DEL succeeds at once while a renewal waits for a server that is gone, and when namespace or record are gone', async () => {
    await using network = await dhcpNetwork({ options: quick });
    await using process = await network.start();
    const wanted = configOf(network.master);
    {
      await using pod = await testNamespace();
      await process.runner.add(wanted, attachment(pod.path));
      await network.server.stop();
      await sleep(3_300); // T1 has come
      await process.runner.delete(wanted, attachment(pod.path));
      assert.equal((await ip(pod.path, 'link')).length, 1);
      await network.server.start({ options: quick });
      await process.runner.add(wanted, attachment(pod.path));
    }
    await process.runner.delete(wanted, attachment('/run/netns/plx-test-gone'));
    await process.runner.delete(wanted, attachment('/run/netns/plx-test-gone', { containerId: 'unknown' }));
    assert.deepEqual(await readdir(network.directory), []);
  });

  test('what a killed ADD had asked for is given back by DEL', async () => {
    await using network = await dhcpNetwork();
    await using pod = await testNamespace();
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
  });

  test('GC gives back what belongs to no valid attachment of the network', async () => {
    await using network = await dhcpNetwork();
    await using process = await network.start();
    await using first = await testNamespace();
    await using second = await testNamespace();
    const wanted = configOf(network.master);
    await process.runner.add(wanted, attachment(first.path));
    await process.runner.add(wanted, attachment(second.path, { containerId: 'c2' }));
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'net1' }] };
    await process.runner.gc({ ...wanted, ...valid }, []);
    await network.server.logged(/DHCPRELEASE/);
    assert.equal((await readdir(network.directory)).length, 1);
    await process.runner.delete(wanted, attachment(second.path, { containerId: 'c2' }));
  });

  test('ipv6 "slaac" waits for the address of a router that announces a prefix, which the kernel keeps', async () => {
    await using network = await dhcpNetwork({ options: ['--enable-ra', '--dhcp-range=fd00:5::,ra-only'] });
    await using process = await network.start();
    await using pod = await testNamespace();
    const wanted = configOf(network.master, { ipv6: 'slaac' });
    const result = await process.runner.add(wanted, attachment(pod.path));
    const [ip4, ip6] = result.ips;
    assert.match(`${ip4?.address}`, /^10\.5\.0\./);
    assert.match(`${ip6?.address}`, /^fd00:5::[0-9a-f:]+\/64$/);
    assert.match(`${ip6?.gateway}`, /^fe80::/);
    const [link] = await ip(pod.path, '-6', 'address', 'show', 'net1');
    assert.match(JSON.stringify(link?.['addr_info']), /"dynamic":true/);
    await process.runner.check(withResult(wanted, result), attachment(pod.path));
    await process.runner.delete(withResult(wanted, result), attachment(pod.path));
    await network.server.logged(/DHCPRELEASE/);
  });

  const refusals: readonly [keys: JsonObject, error: RegExp][] = [
    [{ provide: [{ option: 'foo', value: 'x' }] }, /ipam\.provide\[0\]\.option: Can not parse option "foo"/],
    [{ provide: [{ option: '300', value: 'x' }] }, /Can not parse option "300"/],
    [{ provide: [{ option: '53', value: 'x' }] }, /Can not parse option "53": the client has its own value/],
    [{ provide: [{ option: '12', value: 'x'.repeat(256) }] }, /value too long for option "12"/],
    [{ provide: [{ option: '12', fromArg: 'LONG' }] }, /value too long for option "12" from CNI_ARGS "LONG"/],
    [{ request: [{ option: '0' }] }, /ipam\.request\[0\]\.option: Can not parse option "0"/],
    [{ ipv6: 'often' }, /ipam\.ipv6: expected "slaac"/],
    [{ ipv4: false }, /ipam\.ipv4: expected true where there is no ipam\.ipv6/],
  ];
  test('what is wrong in the configuration is named, and nothing is left', async () => {
    await using network = await dhcpNetwork();
    await using process = await network.start();
    await using pod = await testNamespace();
    const before = await stateOf(pod.path);
    const call = attachment(pod.path, { args: `IgnoreUnknown=1;LONG=${'x'.repeat(256)}` });
    for (const [keys, message] of refusals) {
      await assert.rejects(process.runner.add(configOf(network.master, keys), call), { code: 7, message });
    }
    assert.deepEqual(await stateOf(pod.path), before);
    assert.deepEqual(await readdir(network.directory), []);
  });
});
